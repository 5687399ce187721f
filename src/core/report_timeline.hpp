// The timeline of the report: a lane for each application, with a bar for each episode or, where they are too
// many for bars, the number that were open over time. Pure: lives in memory of the caller, allocates nothing.
// Never ereports itself; the writer's sink may.
#ifndef PGLEAK_CORE_REPORT_TIMELINE_HPP
#define PGLEAK_CORE_REPORT_TIMELINE_HPP

#include <cstdint>

#include "core/html.hpp"
#include "core/report_axis.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr int kMostLanes = 12;
inline constexpr int kMostBars = 120;       // in a lane
inline constexpr int kMostBarRows = 24;     // of bars that overlap
inline constexpr int kTimelineSpans = 120;  // of a lane without bars

// How an episode is drawn. kOther is for outcomes that this version does not know.
enum class BarKind : std::uint8_t {
  kOpen,
  kCommitted,
  kRolledBack,
  kPrepared,
  kDisconnected,
  kCancelled,
  kTerminated,
  kReleased,
  kServerStopped,
  kOther,
};
inline constexpr int kBarKindCount = 10;

const char* to_string(BarKind kind);

// The kind of a value of history.outcome; nullptr is kOpen.
BarKind bar_kind_of(const char* outcome);

// One episode. The texts are untrusted, belong to the caller, and must live as long as the lane; `route` may
// be nullptr.
struct Bar {
  BarKind kind;
  WallTime began;
  WallTime finished;
  WallTime detected_at;
  std::int64_t leak_id;
  std::int64_t pid;  // 0: of a prepared transaction
  const char* role;
  const char* database;
  const char* route;
  std::int64_t blocked;
  Micros blocked_for;
};

// All zeros is an empty lane.
struct Lane {
  const char* application;    // untrusted, the caller's; of several applications nullptr
  std::int64_t applications;  // how many share the lane
  std::int64_t episodes;      // both known before the first episode is added
  std::int64_t open;

  int bar_count;
  Bar bars[kMostBars];

  // Episodes of each kind that begin in a span, minus those whose last span is the one before it.
  std::int32_t change[kBarKindCount][kTimelineSpans + 1];

  // Too many episodes have no bars of their own; only kind, began and finished matter then.
  bool wants_bars() const { return episodes <= kMostBars; }
  void add(const ReportPeriod& period, const Bar& bar);
};

struct Timeline {
  ReportPeriod period;
  int lane_count;
  Lane lanes[kMostLanes];

  // The lane of an application: its own, else the last one if that is shared, else nullptr.
  Lane* find_lane(const char* application);
};

void write_legend(HtmlWriter* html);

// Sorts the bars of each lane on the way.
void write_timeline(HtmlWriter* html, Timeline* timeline);

}  // namespace pgleak

#endif
