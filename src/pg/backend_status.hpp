// Owns: reading the server's backend status array in place, with its change-count protocol.
// Called by the scanner for all entries at every look and by the SQL functions for single ones.
// Takes no lock, allocates nothing, never ereports. Only valid in a process with an entry of its own.
#ifndef PGLEAK_PG_BACKEND_STATUS_HPP
#define PGLEAK_PG_BACKEND_STATUS_HPP

#include <cstdint>

#include "core/episode.hpp"
#include "core/session.hpp"

namespace pgleak {

// What the state field of an entry says, read alone and unsynchronised: it may be stale or belong to a
// backend that has gone.
enum class StateHint : std::uint8_t { kNothing, kIdleInTransaction, kActive };
StateHint state_hint(int index);

// The first entry from `from` on that is not kNothing at a glance (kActive counts only if `wants_active`), or
// that is marked in `marked`; `count`, the number of entries, if there is none. One load for each; all that a
// session without a transaction costs.
int next_candidate(int from, int count, bool wants_active, const bool* marked);

// Has the processor fetch entry `index`, which is going to be read soon.
void prefetch_status(int index);

// Changes whenever entry `index` does: what was read between two calls that returned the same belongs
// together.
std::uint32_t status_version(int index);

// What an entry says, as far as it concerns us.
struct StatusEntry {
  SessionId id;
  bool is_client_backend;  // excludes walsenders, autovacuum and parallel workers
  SessionState state;
  WallTime xact_start;
  WallTime state_start;
  std::uint64_t query_id;
  std::uint32_t role_oid;
  std::uint32_t database_oid;
  std::uint32_t change_count;  // differs after every change of the entry, its strings included
};

enum class StatusRead : std::uint8_t {
  kDone,
  kUnused,  // nobody has the entry; it holds what its last owner left, with pid 0
  kBusy,    // it kept changing, or its owner stopped in mid-change: nothing is known
};

// Copies entry `index` whole.
StatusRead read_status(int index, StatusEntry* entry);

// Copies the strings of entry `index` if it still belongs to `session`; false otherwise.
// `statement` gets at most `statement_size` - 1 bytes and a NUL, `*statement_length` their number. The last
// character may be cut in the middle, as the server leaves it. Each of the two may be nullptr.
bool read_status_strings(int index, SessionId session, SessionIdentity* who, char* statement,
                         int statement_size, int* statement_length);

}  // namespace pgleak

#endif
