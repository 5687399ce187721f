// Who may hold back VACUUM, as core/horizon compares them: made of what the server shows of processes,
// prepared transactions and replication slots.
//
// HorizonHolder::number is left to the caller. Never ereports.
#ifndef PGLEAK_PG_HORIZON_HOLDER_HPP
#define PGLEAK_PG_HORIZON_HOLDER_HPP

#include "core/horizon.hpp"
#include "pg/postgres.hpp"
#include "pg/proc_array.hpp"
#include "pg/replication_slot.hpp"

namespace pgleak {

// `kind` is that of a process of its own, which a walsender with feedback is not.
inline HorizonHolder horizon_holder(const XidHolder& process, HorizonKind kind) {
  HorizonHolder holder{};
  holder.kind = process.is_feedback ? HorizonKind::kStandbyFeedback : kind;
  holder.database = process.is_feedback ? InvalidOid : process.database_oid;
  holder.xid = process.xid;
  holder.xmin = process.xmin;
  return holder;
}

inline HorizonHolder horizon_holder_of_prepared(std::uint32_t database_oid, std::uint32_t xid) {
  HorizonHolder holder{};
  holder.kind = HorizonKind::kPreparedTransaction;
  holder.database = database_oid;
  holder.xid = xid;
  return holder;
}

inline HorizonHolder horizon_holder(const SlotStatus& slot) {
  HorizonHolder holder{};
  holder.kind = HorizonKind::kReplicationSlot;
  holder.xmin = slot.xmin;
  holder.catalog_xmin = slot.catalog_xmin;
  holder.keeps_wal = slot.restart_lsn != 0;
  return holder;
}

}  // namespace pgleak

#endif
