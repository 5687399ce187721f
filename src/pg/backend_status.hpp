// Reads the server's backend status array in place, with its change-count protocol
// (PgBackendStatus.st_changecount).
//
// The scanner calls it for all entries at every scan, the SQL functions for single ones. Takes no lock,
// allocates nothing, never ereports. Valid only in a process that has an entry itself.
#ifndef PGLEAK_PG_BACKEND_STATUS_HPP
#define PGLEAK_PG_BACKEND_STATUS_HPP

#include <cstdint>
#include <optional>

#include "core/episode.hpp"
#include "core/session.hpp"
#include "core/stall_watch.hpp"

namespace pgleak {

// The state field of an entry, read alone and without synchronization. It may be stale or belong to a backend
// that has gone.
enum class StateHint : std::uint8_t { kNothing, kIdleInTransaction, kActive };
StateHint state_hint(int index);

// Returns the first entry at or after `from` whose hint is not kNothing (kActive counts only if
// `wants_active`) or whose mark is not 0; returns `count`, the number of entries, if there is none. It
// costs one load per entry, which is all that a session without a transaction costs.
int next_candidate(int from, int count, bool wants_active, const std::uint8_t* marked);

// True if entry `index` shows a transaction although its session is idle: it delivers notifications. Read
// without synchronization, as the hint.
bool is_idle_with_transaction(int index);

// Prefetches entry `index`, which is about to be read.
void prefetch_status(int index);

// Changes whenever entry `index` does. Values read between two calls that returned the same version belong
// together.
std::uint32_t status_version(int index);

// The fields of an entry that pgleak needs.
struct StatusEntry {
  SessionId id;
  bool is_client_backend;     // excludes walsenders, autovacuum and parallel workers
  std::int32_t backend_type;  // the server's BackendType
  SessionState state;
  WallTime xact_start;
  WallTime state_start;
  std::uint64_t query_id;
  std::uint32_t role_oid;
  std::uint32_t database_oid;
  std::uint32_t change_count;  // differs after every change of the entry, including its strings
};

enum class StatusRead : std::uint8_t {
  kDone,
  kUnused,  // no backend uses the entry; it holds what its last owner left, with pid 0
  kBusy,    // it kept changing, or its owner was stopped in the middle of a change: nothing is known
};

// What a session shows of its progress in the status array: the change count, and a digest of the counters of
// commands that report progress. Returns false if the entry no longer belongs to `session`.
bool read_progress(int index, SessionId session, ProgressEvidence* evidence);

// Copies a consistent state of entry `index`.
StatusRead read_status(int index, StatusEntry* entry);

// Returns the index of the entry of process `pid`, whose PGPROC is at `proc_index` in ProcGlobal->allProcs,
// or nothing if it has none. Finds processes of every kind, also those behind the entries of backends.
std::optional<int> find_status(int proc_index, int pid);

// Copies the strings of entry `index`. Returns false if it no longer belongs to `session`. `statement` gets
// at most `statement_size` - 1 bytes and a NUL, and `*statement_length` the number of bytes without the NUL;
// the last character may be incomplete, as the server truncates it. `who` and `statement` may be nullptr.
bool read_status_strings(int index, SessionId session, SessionIdentity* who, char* statement,
                         int statement_size, int* statement_length);

}  // namespace pgleak

#endif
