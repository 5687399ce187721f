// Which processes hold back VACUUM, read from their PGPROCs by the rules of ComputeXidHorizons() in
// procarray.c.
//
// Called by SQL functions and, while a leak is open, by the scanner. Holds ProcArrayLock, shared, for one
// pass over all processes: as long as taking a snapshot does. Never ereports.
#ifndef PGLEAK_PG_PROC_ARRAY_HPP
#define PGLEAK_PG_PROC_ARRAY_HPP

#include <cstdint>

#include "pg/postgres.hpp"

namespace pgleak {

// A process that holds a transaction id.
struct XidHolder {
  int proc_index;  // in ProcGlobal->allProcs
  int pid;
  std::uint32_t xid;   // 0: none
  std::uint32_t xmin;  // 0: none
  std::uint32_t database_oid;
  bool is_feedback;  // what a standby asks its walsender to hold, in every database
};

// A process that is looked for by its id.
struct ProcessPlace {
  int pid;
  int proc_index;  // set by read_xid_holders(); -1: there is no such process
};

// Copies the holders and returns their number; `holders` has room for compat::proc_count(). Leaves out who
// holds nothing for VACUUM: one that is in VACUUM itself, or in logical decoding, which its slot does. Leaves
// out this process, and parallel workers, for which their leader stands. (A CREATE INDEX CONCURRENTLY that
// others need not wait for holds back VACUUM all the same.) Prepared transactions are not processes.
//
// In the same pass finds the processes of `places`, which it sorts.
int read_xid_holders(XidHolder* holders, ProcessPlace* places, int place_count);

// True if the transaction of the process has more subtransactions than its PGPROC can list. Every snapshot
// taken while it is open is incomplete, so visibility checks look up the parents of subtransactions. Reads
// one byte, without a lock.
bool has_subxact_overflow(int proc_index);

}  // namespace pgleak

#endif
