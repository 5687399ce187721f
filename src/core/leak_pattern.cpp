#include "core/leak_pattern.hpp"

#include <cstring>

#include "core/text.hpp"

namespace pgleak {

namespace {

constexpr Micros kHalfHour = 1800 * kSecond;

// Requests that started together, such as a burst that found the pool empty.
constexpr Micros kTogether = kSecond;

// Fewer may be chance.
constexpr std::int32_t kEnoughEnds = 3;

// While nothing moves for this long, and no leak has ever returned, a statement that reads no table proves
// nothing: code that checks its connection may leak as well.
constexpr Micros kStandstill = 10 * kSecond;

// A leak this much older than the longest one that committed is not like them.
constexpr std::int64_t kLikeTheLongest = 2;
constexpr Micros kGrace = 5 * kSecond;

// Nobody else works in the pool: a request that did would give its connection back sooner or later.
bool waits_for_itself(const LeakSummary& leaks, const PatternFacts& facts) {
  return leaks.count >= 2 && leaks.begun == leaks.count && leaks.idle == leaks.count &&
         facts.in_use == leaks.count && leaks.last_began - leaks.first_began <= kTogether;
}

// Free connections of such a pool are never idle outside of a transaction, except for the moment between two
// statements.
bool is_test_query(const LeakSummary& leaks, const PatternFacts& facts) {
  const bool are_free_ones_idle = facts.idle * 10 > facts.connections;
  // The first one to be a leak is in the same state as the others.
  const bool is_one_of_many = facts.connections >= 3 && facts.idle_in_transaction * 2 >= facts.connections;
  if (leaks.count < 2 && !is_one_of_many) return false;
  if (leaks.probes == 0 || leaks.probes * 10 < leaks.count * 9 || are_free_ones_idle) return false;
  return facts.has_returned || facts.without_turnover < kStandstill;
}

bool is_slow(const LeakSummary& leaks, const LeakEnds& recent, MonotonicTime now) {
  if (recent.count < kEnoughEnds || recent.committed != recent.count) return false;
  return now - leaks.oldest_on <= kLikeTheLongest * recent.longest + kGrace;
}

template <std::size_t size>
void keep_common(char (&common)[size], const char (&other)[size]) {
  if (std::strcmp(common, other) != 0) common[0] = '\0';
}

}  // namespace

void LeakSummary::add(const Episode& episode, const LeakOrigin& origin) {
  const bool is_idle = is_idle_in_transaction(episode.progress.last_state);
  const WallTime began = is_idle && episode.idle_since.is_set() ? episode.idle_since : episode.detected_at;
  if (count == 0) {
    query_id = episode.query_id;
    std::memcpy(route, origin.route, sizeof(route));
    std::memcpy(code, origin.code, sizeof(code));
    std::memcpy(statement, origin.statement, sizeof(statement));
    since = began;
    oldest_on = episode.detected_mono;
    first_began = last_began = episode.xact_start;
  }
  // Once empty, it stays empty and equals no other. Where the ids are equal, the words differ in constants.
  if (query_id != episode.query_id) query_id = 0;
  keep_common(route, origin.route);
  keep_common(code, origin.code);
  if (query_id == 0) keep_common(statement, origin.statement);
  if (began < since) since = began;
  if (episode.detected_mono < oldest_on) oldest_on = episode.detected_mono;
  if (episode.xact_start < first_began) first_began = episode.xact_start;
  if (episode.xact_start > last_began) last_began = episode.xact_start;
  idle += is_idle;
  begun += is_idle && origin.kind == StatementKind::kBegin;
  // No pool tags its test query with a route.
  const bool is_probe =
      is_idle && origin.kind == StatementKind::kProbe && origin.touches_nothing && origin.route[0] == '\0';
  if (is_probe && probes == 0) std::memcpy(probe, origin.statement, sizeof(probe));
  probes += is_probe && std::strcmp(probe, origin.statement) == 0;
  count++;
}

void LeakSummary::add(const LeakSummary& others) {
  if (others.count == 0) return;
  if (count == 0) {
    *this = others;
    return;
  }
  if (query_id != others.query_id) query_id = 0;
  keep_common(route, others.route);
  keep_common(code, others.code);
  if (query_id == 0) keep_common(statement, others.statement);
  if (probes == 0) std::memcpy(probe, others.probe, sizeof(probe));
  if (std::strcmp(probe, others.probe) == 0) probes += others.probes;
  if (others.since < since) since = others.since;
  if (others.oldest_on < oldest_on) oldest_on = others.oldest_on;
  if (others.first_began < first_began) first_began = others.first_began;
  if (others.last_began > last_began) last_began = others.last_began;
  count += others.count;
  idle += others.idle;
  begun += others.begun;
}

void LeakEnds::add(Outcome outcome, Micros lasted) {
  const bool has_returned = outcome == Outcome::kCommitted || outcome == Outcome::kRolledBack;
  count++;
  committed += outcome == Outcome::kCommitted;
  terminated += outcome == Outcome::kTerminated;
  returned += has_returned;
  if (has_returned && lasted > longest) longest = lasted;
}

void LeakEnds::add(const LeakEnds& others) {
  count += others.count;
  committed += others.committed;
  returned += others.returned;
  terminated += others.terminated;
  if (others.longest > longest) longest = others.longest;
}

void RecentEnds::record(const LeakEnds& ends, MonotonicTime now) {
  if (!since_.is_set()) since_ = now;
  if (now - since_ >= kHalfHour) {
    former_ = now - since_ < 2 * kHalfHour ? current_ : LeakEnds{};
    current_ = LeakEnds{};
    since_ = now;
  }
  current_.add(ends);
}

LeakEnds RecentEnds::sum() const {
  LeakEnds all = former_;
  all.add(current_);
  return all;
}

LeakPattern find_pattern(const LeakSummary& leaks, const LeakEnds& recent, const PatternFacts& facts,
                         MonotonicTime now) {
  if (leaks.count == 0) return LeakPattern::kNone;
  if (waits_for_itself(leaks, facts)) return LeakPattern::kNested;
  if (is_test_query(leaks, facts)) return LeakPattern::kProbe;
  return is_slow(leaks, recent, now) ? LeakPattern::kSlow : LeakPattern::kLost;
}

}  // namespace pgleak
