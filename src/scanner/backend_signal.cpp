#include <csignal>

#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/injection.hpp"
#include "scanner/actions.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "replication/syncrep.h"
#include "storage/lwlock.h"
#include "storage/sinval.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

// Calls act(proc, entry) if the backend still matches, while it cannot exit. A backend leaves the status
// array before it leaves the proc array, for which it needs ProcArrayLock exclusively. So a backend seen in
// the status array under that lock lives until the lock is released (the same argument as in
// SignalVirtualTransaction).
template <typename Act>
bool with_backend(TrackedSession session, const Judged& judged, Act act) {
  BackendOwner owner;
  if (!session.backend().read_owner(judged.session, &owner)) return false;

  bool is_done = false;
  Assert(is_scanner() && !LWLockHeldByMe(ProcArrayLock));
  LWLockAcquire(ProcArrayLock, LW_SHARED);
  PGPROC* proc = &ProcGlobal->allProcs[owner.proc_index];
  StatusEntry entry{};
  // Its transaction is committed there, and must not be reported before a standby has it.
  const bool is_committing = proc->syncRepState != SYNC_REP_NOT_WAITING;
  if (proc->pid == judged.session.pid && !is_committing &&
      read_status(session.index(), &entry) == StatusRead::kDone && entry.id == judged.session &&
      entry.state_start == judged.state_start) {
    if (current_seq(combine(entry, session.backend().report())) == judged.xact_seq) is_done = act(entry);
  }
  LWLockRelease(ProcArrayLock);
  return is_done;
}

bool send_signal(TrackedSession session, const Judged& judged, int signal) {
  stop_at("check");
  return with_backend(session, judged, [&judged, signal](const StatusEntry&) {
    // Signals the whole process group, as pg_signal_backend() does.
    return kill(-judged.session.pid, signal) == 0;
  });
}

}  // namespace

bool send_message(TrackedSession session, const Judged& judged, std::uint32_t nonce) {
  stop_at("check");
  if (!with_backend(session, judged, [](const StatusEntry&) { return true; })) return false;
  stop_at("message");

  SharedInvalidationMessage message{};
  message.cc.id = LANGNAME;
  message.cc.dbId = InvalidOid;
  message.cc.hashValue = nonce;
  SendSharedInvalidMessages(&message, 1);
  stop_at("wake-up");
  return with_backend(session, judged, [session, &judged](const StatusEntry&) {
    return compat::send_catchup_interrupt(judged.session.pid, session.index());
  });
}

bool send_interrupt(TrackedSession session, const Judged& judged) {
  return send_signal(session, judged, SIGINT);
}

bool send_terminate(TrackedSession session, const Judged& judged) {
  return send_signal(session, judged, SIGTERM);
}

}  // namespace pgleak
