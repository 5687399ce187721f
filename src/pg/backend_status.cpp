#include "pg/backend_status.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/prefetch.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

namespace {

// A writer holds an entry for well under a microsecond. A writer stopped in the middle (SIGSTOP) must not
// block the scanner, so the entry is left to the next scan.
constexpr int kReadTries = 1000;

// Reading one state field takes so little time that the processor would mostly wait for memory, so it is told
// this many entries ahead what will be read. The address translation of a page takes even longer and is
// started earlier, once per kPageStep entries; about ten entries lie on a page.
constexpr int kHintsAhead = 24;
constexpr int kPageAhead = 160;
constexpr int kPageStep = 8;

// The array itself is private to the server, but the position of our own entry in it is not.
volatile PgBackendStatus* entry_at(int index) {
  Assert(MyBEEntry != nullptr);
  return MyBEEntry - compat::my_status_index() + index;
}

constexpr std::uint32_t bit_of(BackendState state) { return std::uint32_t{1} << state; }
constexpr std::uint32_t kIdleInTransactionStates =
    bit_of(STATE_IDLEINTRANSACTION) | bit_of(STATE_IDLEINTRANSACTION_ABORTED);
constexpr std::uint32_t kActiveStates = bit_of(STATE_RUNNING) | bit_of(STATE_FASTPATH);

SessionState session_state(BackendState state) {
  switch (state) {
    case STATE_IDLE:
      return SessionState::kIdle;
    case STATE_RUNNING:
      return SessionState::kActive;
    case STATE_FASTPATH:
      return SessionState::kFastpath;
    case STATE_IDLEINTRANSACTION:
      return SessionState::kIdleInTransaction;
    case STATE_IDLEINTRANSACTION_ABORTED:
      return SessionState::kIdleInTransactionAborted;
    default:
      return SessionState::kUnknown;
  }
}

// Calls copy(entry) until the entry did not change during the copy. Returns false if that never happened.
template <typename Copy>
bool read_unchanged(volatile PgBackendStatus* entry, Copy copy) {
  for (int i = 0; i < kReadTries; i++) {
    int before;
    int after;
    pgstat_begin_read_activity(entry, before);
    copy(entry);
    pgstat_end_read_activity(entry, after);
    if (pgstat_read_activity_complete(before, after)) return true;
  }
  return false;
}

void copy_string(char* target, int size, const char* source) {
  // The source may change during the copy, but its last byte is always NUL, so the loop ends.
  int length = 0;
  while (length < size - 1 && source[length] != '\0') {
    target[length] = source[length];
    length++;
  }
  target[length] = '\0';
}

void format_address(const SockAddr* address, SessionIdentity* who) {
  who->client_address[0] = '\0';
  who->client_port = kPortUnknown;
  switch (address->addr.ss_family) {
    case AF_INET: {
      const sockaddr_in* ip = reinterpret_cast<const sockaddr_in*>(&address->addr);
      inet_ntop(AF_INET, &ip->sin_addr, who->client_address, kAddressSize);
      who->client_port = ntohs(ip->sin_port);
      break;
    }
    case AF_INET6: {
      const sockaddr_in6* ip = reinterpret_cast<const sockaddr_in6*>(&address->addr);
      inet_ntop(AF_INET6, &ip->sin6_addr, who->client_address, kAddressSize);
      who->client_port = ntohs(ip->sin6_port);
      break;
    }
    case AF_UNIX:
      who->client_port = kPortUnixSocket;
      break;
    default:
      break;
  }
}

}  // namespace

StateHint state_hint(int index) {
  const std::uint32_t state = bit_of(entry_at(index)->st_state);
  if (state & kIdleInTransactionStates) return StateHint::kIdleInTransaction;
  return state & kActiveStates ? StateHint::kActive : StateHint::kNothing;
}

int next_candidate(int from, int count, bool wants_active, const std::uint8_t* marked) {
  const std::uint32_t wanted = kIdleInTransactionStates | (wants_active ? kActiveStates : 0);
  volatile PgBackendStatus* const first = entry_at(0);
  for (int i = from; i < count; i++) {
    // A prefetch past the end of the array does nothing.
    __builtin_prefetch(const_cast<const BackendState*>(&first[i + kHintsAhead].st_state));
    if (i % kPageStep == 0)
      __builtin_prefetch(const_cast<const BackendState*>(&first[i + kPageAhead].st_state));
    if (marked[i] != 0 || (bit_of(first[i].st_state) & wanted)) return i;
  }
  return count;
}

bool is_idle_with_transaction(int index) {
  volatile PgBackendStatus* const entry = entry_at(index);
  return entry->st_state == STATE_IDLE && entry->st_xact_start_timestamp != 0;
}

void prefetch_status(int index) { prefetch(const_cast<const PgBackendStatus*>(entry_at(index))); }

std::uint32_t status_version(int index) {
  pg_read_barrier();
  const int version = entry_at(index)->st_changecount;
  pg_read_barrier();
  return static_cast<std::uint32_t>(version);
}

bool read_progress(int index, SessionId session, ProgressEvidence* evidence) {
  constexpr std::uint64_t kFactor = 1099511628211U;  // FNV-1a, over words
  SessionId seen{};
  const bool is_whole = read_unchanged(entry_at(index), [&](volatile PgBackendStatus* entry) {
    seen.pid = entry->st_procpid;
    seen.backend_start = from_timestamp(entry->st_proc_start_timestamp);
    evidence->change_count = static_cast<std::uint32_t>(entry->st_changecount);
    evidence->reports_progress = entry->st_progress_command != PROGRESS_COMMAND_INVALID;
    evidence->counters = 0;
    for (int i = 0; i < PGSTAT_NUM_PROGRESS_PARAM; i++)
      evidence->counters =
          (evidence->counters ^ static_cast<std::uint64_t>(entry->st_progress_param[i])) * kFactor;
  });
  return is_whole && seen == session;
}

StatusRead read_status(int index, StatusEntry* result) {
  const bool is_whole = read_unchanged(entry_at(index), [result](volatile PgBackendStatus* entry) {
    result->id.pid = entry->st_procpid;
    result->id.backend_start = from_timestamp(entry->st_proc_start_timestamp);
    result->is_client_backend = entry->st_backendType == B_BACKEND;
    result->backend_type = entry->st_backendType;
    result->state = session_state(entry->st_state);
    result->xact_start = from_timestamp(entry->st_xact_start_timestamp);
    result->state_start = from_timestamp(entry->st_state_start_timestamp);
    result->query_id = static_cast<std::uint64_t>(entry->st_query_id);
    result->role_oid = entry->st_userid;
    result->database_oid = entry->st_databaseid;
    result->change_count = static_cast<std::uint32_t>(entry->st_changecount);
  });
  if (!is_whole) return StatusRead::kBusy;
  return result->id.pid > 0 ? StatusRead::kDone : StatusRead::kUnused;
}

std::optional<int> find_status(int proc_index, int pid) {
  const int index = compat::status_index_of(&ProcGlobal->allProcs[proc_index]);
  if (index >= 0 && entry_at(index)->st_procpid == pid) return index;
  for (int i = compat::status_slot_count(); i < compat::status_entry_count(); i++)
    if (entry_at(i)->st_procpid == pid) return i;
  return std::nullopt;
}

bool read_status_strings(int index, SessionId session, SessionIdentity* who, char* statement,
                         int statement_size, int* statement_length) {
  SessionId seen{};
  SockAddr address{};
  const bool is_whole = read_unchanged(entry_at(index), [&](volatile PgBackendStatus* entry) {
    seen.pid = entry->st_procpid;
    seen.backend_start = from_timestamp(entry->st_proc_start_timestamp);
    if (who != nullptr) {
      copy_string(who->application_name, kNameSize, entry->st_appname);
      memcpy(&address, const_cast<const SockAddr*>(&entry->st_clientaddr), sizeof(address));
      who->role_oid = entry->st_userid;
    }
    if (statement != nullptr) copy_string(statement, statement_size, entry->st_activity_raw);
  });
  if (!is_whole || seen != session) return false;

  if (who != nullptr) format_address(&address, who);
  if (statement_length != nullptr && statement != nullptr)
    *statement_length = static_cast<int>(strlen(statement));
  return true;
}

}  // namespace pgleak
