// The server's replication slots, each as it was at one moment.
//
// Called by SQL functions and, while a leak is open, by the scanner. Holds ReplicationSlotControlLock,
// shared, and the mutex of one slot at a time. Never ereports.
#ifndef PGLEAK_PG_REPLICATION_SLOT_HPP
#define PGLEAK_PG_REPLICATION_SLOT_HPP

#include <cstdint>

#include "core/session.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

struct SlotStatus {
  char name[kNameSize];
  bool is_logical;
  bool is_temporary;
  bool is_synced;                     // from the primary of this standby
  int pid;                            // of the process that uses it; 0: none
  std::uint32_t xmin;                 // 0: none; in effect, which is what the server has to honour
  std::uint32_t catalog_xmin;         // 0: none
  std::uint64_t restart_lsn;          // 0: none
  std::uint64_t confirmed_flush_lsn;  // 0: none; of a logical slot
};

// Number of slots that the server has room for.
int slot_capacity();

// Copies the slots that hold something: neither an invalidated nor a fresh one does. Returns their number;
// `slots` has room for slot_capacity().
int read_replication_slots(SlotStatus* slots);

// Where WAL ends: what is written or, on a standby, received or replayed.
std::uint64_t end_of_wal();

// The setting hot_standby_feedback, which matters on a standby.
bool sends_feedback();

// pg_replication_slots.wal_status. Static memory; nullptr: unknown.
const char* wal_status_of(const SlotStatus& slot);

}  // namespace pgleak

#endif
