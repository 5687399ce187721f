// What the startup process of a standby waits for outside of the lock table, read from the process array.
//
// The scanner and the SQL functions call it. Takes no lock, allocates nothing, never ereports.
#ifndef PGLEAK_PG_REPLAY_CONFLICT_HPP
#define PGLEAK_PG_REPLAY_CONFLICT_HPP

#include <cstdint>

#include "core/replay_watch.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
}

namespace pgleak {

// The startup process while it waits so; proc_index is its position in ProcGlobal->allProcs. On a primary,
// and while replay does not wait, the conflict is kNone.
struct WaitingReplay {
  ReplayConflict conflict;
  int proc_index;
};
WaitingReplay find_waiting_replay();

// The oldest xmin of all sessions in a transaction; 0: none has one.
std::uint32_t oldest_snapshot_xmin();

// True if replay, which waits so, waits for the process at `proc_index`.
bool holds_replay_back(int proc_index, const ReplayWait& wait);

// Such a wait has no lock. This tag, of no type that the server knows, stands for one.
LOCKTAG replay_tag(ReplayConflict conflict);

// kNone: it is the tag of a lock.
ReplayConflict replay_conflict_of(const LOCKTAG& tag);

}  // namespace pgleak

#endif
