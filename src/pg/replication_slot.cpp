#include "pg/replication_slot.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "replication/slot.h"
#include "replication/walreceiver.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
}

namespace pgleak {

namespace {

// The effective values may differ from what is on disk, and the server honours them.
SlotStatus status_of(const ReplicationSlot& slot) {
  SlotStatus status{};
  strlcpy(status.name, NameStr(slot.data.name), sizeof(status.name));
  status.is_logical = SlotIsLogical(&slot);
  status.is_temporary = slot.data.persistency == RS_TEMPORARY;
  status.is_synced = compat::is_synced(slot);
  status.pid = compat::user_of_slot(slot);
  status.xmin = slot.effective_xmin;
  status.catalog_xmin = slot.effective_catalog_xmin;
  status.restart_lsn = slot.data.restart_lsn;
  status.confirmed_flush_lsn = slot.data.confirmed_flush;
  return status;
}

bool holds_something(const ReplicationSlot& slot) {
  return !compat::is_invalidated(slot) &&
         (slot.effective_xmin != InvalidTransactionId ||
          slot.effective_catalog_xmin != InvalidTransactionId || slot.data.restart_lsn != InvalidXLogRecPtr);
}

}  // namespace

int slot_capacity() { return compat::replication_slot_count(); }

int read_replication_slots(SlotStatus* slots) {
  int count = 0;
  LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
  for (int i = 0; i < slot_capacity(); i++) {
    ReplicationSlot* const slot = &ReplicationSlotCtl->replication_slots[i];
    if (!slot->in_use) continue;
    SpinLockAcquire(&slot->mutex);
    const ReplicationSlot copy = *slot;
    SpinLockRelease(&slot->mutex);
    if (holds_something(copy)) slots[count++] = status_of(copy);
  }
  LWLockRelease(ReplicationSlotControlLock);
  return count;
}

std::uint64_t end_of_wal() {
  if (!RecoveryInProgress()) return GetXLogWriteRecPtr();
  return Max(GetWalRcvFlushRecPtr(nullptr, nullptr), GetXLogReplayRecPtr(nullptr));
}

bool sends_feedback() { return hot_standby_feedback; }

// As pg_get_replication_slots() does: while somebody uses it, removed segments may still be sent.
const char* wal_status_of(const SlotStatus& slot) {
  switch (GetWALAvailability(slot.restart_lsn)) {
    case WALAVAIL_INVALID_LSN:
      return nullptr;
    case WALAVAIL_RESERVED:
      return "reserved";
    case WALAVAIL_EXTENDED:
      return "extended";
    case WALAVAIL_UNRESERVED:
      return "unreserved";
    case WALAVAIL_REMOVED:
      return slot.pid != 0 ? "unreserved" : "lost";
  }
  return nullptr;
}

}  // namespace pgleak
