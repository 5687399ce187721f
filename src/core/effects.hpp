// What a leak costs others besides their waiting: its share in the vacuum horizon, WAL that a replication
// slot cannot let go, a notification queue that fills, snapshots that became slow.
//
// The scanner takes a sample of each open leak once a second. Lives in shared memory: trivially copyable, no
// pointers. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_EFFECTS_HPP
#define PGLEAK_CORE_EFFECTS_HPP

#include <cstdint>
#include <optional>

#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// The positions of a logical replication slot in WAL; 0: none.
struct SlotPosition {
  const char* name;
  std::uint64_t restart;    // WAL before it is not needed any more
  std::uint64_t confirmed;  // its consumer has everything before it
};

// What one sample says of one leak.
struct EffectSample {
  MonotonicTime at;
  std::uint32_t xid;                        // its own; 0: none
  std::uint32_t oldest_id;                  // the older of its xid and xmin; 0: none
  bool is_oldest;                           // nothing older holds back VACUUM in its database
  bool is_oldest_xid;                       // no transaction in progress has an older xid, in any database
  bool has_subxact_overflow;                // more subtransactions than a process can list
  std::uint64_t end_of_wal;                 // 0: on a standby
  std::optional<float> notify_queue_usage;  // of a session that LISTENs, where it is known
};

// The effects seen so far, of the columns of pgleak.leaks and pgleak.history that tell them.
// Zero-initialized: nothing was seen.
struct LeakEffects {
  Micros oldest_for;             // time between samples that both saw it as the oldest
  std::uint64_t retained_bytes;  // the most WAL that a slot kept because of it; 0: none
  char slot_name[kNameSize];     // of that slot
  float notify_queue_usage;      // the highest; only if `has_queue_usage`
  bool has_queue_usage;
  bool has_subxact_overflow;
  // Of the last sample.
  bool was_oldest;
  std::uint32_t xid;
  std::uint32_t oldest_id;
  MonotonicTime sampled_at;
  // Where WAL ended when a sample first saw the xid.
  std::uint64_t xid_seen_at;
};

// What to show of `oldest_for`: nothing unless it has been the oldest.
inline std::optional<Micros> shown_oldest_for(const LeakEffects& effects) {
  if (!effects.was_oldest && effects.oldest_for == Micros{0}) return std::nullopt;
  return effects.oldest_for;
}

// Adds a sample to what was seen before.
//
// A logical slot has to keep WAL from before each transaction that writes, until that ends: its restart
// position stays there while its consumer goes on. (SnapBuildProcessRunningXacts() in snapbuild.c moves it to
// where the oldest transaction in the reorder buffer began.) So the leak is the reason for what lies between
// the two if its consumer has passed a point at which the leak was known to be in progress, the restart
// position has not, and no older transaction is in progress. What its consumer has not read yet is not the
// leak's fault.
void observe_effects(LeakEffects* effects, const EffectSample& sample, const SlotPosition* slots, int count);

}  // namespace pgleak

#endif
