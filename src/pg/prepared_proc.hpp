// The processes of prepared transactions: entries behind the ordinary ones in ProcGlobal->allProcs that stand
// for transactions without a session.
//
// Reads shared memory without a lock. Never ereports. On a standby there are none: its prepared transactions
// are known only by their ids until it is promoted.
#ifndef PGLEAK_PG_PREPARED_PROC_HPP
#define PGLEAK_PG_PREPARED_PROC_HPP

#include "pg/compat.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/transam.h"
#include "access/twophase.h"
#include "storage/lock.h"
#include "storage/proc.h"
}

namespace pgleak {

// Number of places for prepared transactions: max_prepared_transactions.
inline int prepared_place_count() { return max_prepared_xacts; }

// Position in ProcGlobal->allProcs of the process at `place`, and back; -1 if it is an ordinary process.
inline int prepared_proc_index(int place) { return static_cast<int>(ProcGlobal->allProcCount) + place; }
inline int prepared_place_of(int proc_index) {
  const int place = proc_index - static_cast<int>(ProcGlobal->allProcCount);
  return place < 0 ? -1 : place;
}

// The id of the transaction at `place`; InvalidTransactionId: none. A place keeps the id of its last
// transaction, but each prepared transaction holds the lock on its own id until it has ended in the commit
// log. One load for a place that was never used.
inline TransactionId prepared_xid(int place) {
  const PGPROC* const proc = &ProcGlobal->allProcs[prepared_proc_index(place)];
  const TransactionId xid = *const_cast<const volatile TransactionId*>(&proc->xid);
  if (xid == InvalidTransactionId) return xid;
  LOCKTAG own;
  SET_LOCKTAG_TRANSACTION(own, xid);
  const int partition = static_cast<int>(LockHashPartition(LockTagHashCode(&own)));
  return compat::holds_nothing_in(proc, partition) ? InvalidTransactionId : xid;
}

}  // namespace pgleak

#endif
