// What holds back VACUUM or keeps WAL: kinds of holders, which of them is the oldest, and what ends it.
//
// The server's rules are those of ComputeXidHorizons() (procarray.c): processes hold the horizon of their own
// database, replication slots and the feedback of standbys that of every database. Allocates nothing, never
// ereports.
#ifndef PGLEAK_CORE_HORIZON_HPP
#define PGLEAK_CORE_HORIZON_HPP

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/session.hpp"

namespace pgleak {

enum class HorizonKind : std::uint8_t {
  kSession,
  kPreparedTransaction,
  kReplicationSlot,
  kStandbyFeedback,   // of a standby without a slot
  kBackgroundWorker,  // autovacuum too
};

// Static memory.
const char* to_string(HorizonKind kind);

// On a standby nothing is vacuumed. Processes there delay replay, and with hot_standby_feedback all holders
// there count on the primary, whatever their database.
struct HorizonScope {
  bool is_standby;
  bool sends_feedback;  // on a standby
};

// Transaction ids are 0 for none.
struct HorizonHolder {
  HorizonKind kind;
  int number;              // the caller's
  std::uint32_t database;  // the one whose VACUUM it holds back; 0: that of every database
  std::uint32_t xid;
  std::uint32_t xmin;
  std::uint32_t catalog_xmin;
  bool keeps_wal;
  // Set by find_oldest().
  std::int64_t age;  // in transactions, of the oldest id that it holds; -1: it holds none
  bool is_oldest;
};

// Measures all ages, and finds the oldest holder of each database, or all of them where several are equally
// old. Rows of tables and rows of catalogs are two horizons: a holder is the oldest if nothing older holds
// one of them. One without an age, or with age 0, holds nothing back yet. Changes the order of the holders.
void find_oldest(HorizonHolder* holders, int count, std::uint32_t next_xid, HorizonScope scope);

// Describes what it keeps: "tables, catalogs", "catalogs, WAL", "replay".
inline constexpr std::size_t kHeldSize = 40;
void describe_held(const HorizonHolder& holder, HorizonScope scope, char (&text)[kHeldSize]);

// Who the holder is, as far as its remedy depends on it. Strings are never nullptr.
struct HolderIdentity {
  HorizonKind kind;
  int pid;                 // 0: none; that of the process which uses a slot
  const char* name;        // gid, or name of the slot
  const char* client;      // application_name of the process
  bool is_client_backend;  // not a walsender that runs a command
  bool is_autovacuum;
  bool is_idle;  // outside of a transaction
  bool is_in_this_database;
  bool is_logical;    // slot
  bool is_temporary;  // slot
  bool is_synced;     // slot, from the primary of this standby
  bool has_xmin;      // slot
};

// Describes what ends the holder: a statement to type where there is one, else a sentence.
inline constexpr std::size_t kHorizonRemedySize = 640;  // a gid has at most 199 bytes; quoting doubles them
void describe_remedy(const HolderIdentity& who, char (&text)[kHorizonRemedySize]);

}  // namespace pgleak

#endif
