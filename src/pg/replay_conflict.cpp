#include "pg/replay_conflict.hpp"

#include <optional>

#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/wait_event.hpp"

extern "C" {
#include "access/transam.h"
#include "access/xlog.h"
#include "storage/proc.h"
#include "utils/wait_event.h"
}

namespace pgleak {

namespace {

constexpr uint8 kFirstReplayType = LOCKTAG_LAST_TYPE + 100;

ReplayConflict conflict_of(std::uint32_t wait_event) {
  switch (wait_event) {
    case WAIT_EVENT_RECOVERY_CONFLICT_SNAPSHOT:
      return ReplayConflict::kSnapshot;
    case WAIT_EVENT_RECOVERY_CONFLICT_TABLESPACE:
      return ReplayConflict::kTablespace;
    default:
      return ReplayConflict::kNone;
  }
}

int process_id_of(const PGPROC* proc) { return *const_cast<const volatile int*>(&proc->pid); }

TransactionId xmin_of(const PGPROC* proc) { return *const_cast<const volatile TransactionId*>(&proc->xmin); }

// The server looks for those in its way by the same test: GetConflictingVirtualXIDs() in procarray.c.
bool is_in_transaction(const PGPROC* proc) {
  return process_id_of(proc) != 0 && proc->databaseId != InvalidOid && compat::local_transaction(proc) != 0;
}

// Replay waits for the transactions that existed when it began to wait.
bool has_begun_before(int proc_index, WallTime time) {
  StatusEntry entry{};
  const std::optional<int> index = find_status(proc_index, process_id_of(&ProcGlobal->allProcs[proc_index]));
  if (!index || read_status(*index, &entry) != StatusRead::kDone) return false;
  return entry.xact_start.is_set() && entry.xact_start <= time;
}

}  // namespace

// Only the startup process has these wait events. It is one of the processes behind those of backends.
WaitingReplay find_waiting_replay() {
  if (!RecoveryInProgress()) return WaitingReplay{ReplayConflict::kNone, 0};
  for (int i = MaxBackends; i < static_cast<int>(ProcGlobal->allProcCount); i++) {
    const ReplayConflict conflict = conflict_of(wait_event_of(i));
    if (conflict != ReplayConflict::kNone && process_id_of(&ProcGlobal->allProcs[i]) != 0)
      return WaitingReplay{conflict, i};
  }
  return WaitingReplay{ReplayConflict::kNone, 0};
}

std::uint32_t oldest_snapshot_xmin() {
  TransactionId oldest = InvalidTransactionId;
  for (int i = 0; i < MaxBackends; i++) {
    const PGPROC* const proc = &ProcGlobal->allProcs[i];
    const TransactionId xmin = xmin_of(proc);
    if (xmin == InvalidTransactionId || !is_in_transaction(proc)) continue;
    if (oldest == InvalidTransactionId || TransactionIdPrecedes(xmin, oldest)) oldest = xmin;
  }
  return oldest;
}

bool holds_replay_back(int proc_index, const ReplayWait& wait) {
  const PGPROC* const proc = &ProcGlobal->allProcs[proc_index];
  if (!is_in_transaction(proc)) return false;
  if (wait.conflict == ReplayConflict::kTablespace) return has_begun_before(proc_index, wait.since);
  return wait.xmin != InvalidTransactionId && xmin_of(proc) == wait.xmin;
}

LOCKTAG replay_tag(ReplayConflict conflict) {
  LOCKTAG tag{};
  tag.locktag_type = static_cast<uint8>(kFirstReplayType + static_cast<uint8>(conflict));
  tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
  return tag;
}

ReplayConflict replay_conflict_of(const LOCKTAG& tag) {
  if (tag.locktag_type == replay_tag(ReplayConflict::kSnapshot).locktag_type)
    return ReplayConflict::kSnapshot;
  if (tag.locktag_type == replay_tag(ReplayConflict::kTablespace).locktag_type)
    return ReplayConflict::kTablespace;
  return ReplayConflict::kNone;
}

}  // namespace pgleak
