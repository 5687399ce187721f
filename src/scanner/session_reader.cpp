#include "scanner/session_reader.hpp"

#include "core/keepalive.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/lock_contention.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "pg/process_time.hpp"
#include "pg/wait_event.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// Holds one statement, pgstat_track_activity_query_size bytes.
char* statement_buffer = nullptr;

// What was read last of a leak's locks and waiters.
ContentionReading* contention_buffer = nullptr;

// The scanner's own copy of the rules, which no writer can block, and a buffer for the next version.
RuleSet* rules = nullptr;
RuleSet* next_rules = nullptr;
std::uint64_t rules_version = 0;

// The rules that match the session of a slot, cached. The change count covers everything that a session can
// change about itself: another user of the slot, another application_name.
struct KnownMatch {
  SessionId session;
  std::uint32_t change_count;
  std::uint64_t rules_version;  // 0: not matched yet
  Match match;
};
KnownMatch* known_matches = nullptr;

// When the connection of each slot was last asked whether the client has gone.
MonotonicTime* peer_read_at = nullptr;
constexpr Micros kPeerInterval = kSecond;
constexpr Micros kIdlePeerInterval = 60 * kSecond;

bool still_holds(const KnownMatch& known, const StatusEntry& entry, WallTime now) {
  return known.rules_version == rules_version && known.session == entry.id &&
         known.change_count == entry.change_count && now >= known.match.valid_from &&
         now < known.match.valid_until;
}

std::optional<LimitFacts> read_limits(TrackedSession session, const StatusEntry& entry, WallTime now) {
  LimitFacts facts{session.backend().own_limits(), session.backend().own_action_min_impact(), {}, kEndOfTime};
  if (rules->count == 0) return facts;
  KnownMatch& known = known_matches[session.index()];
  if (!still_holds(known, entry, now)) {
    known.rules_version = 0;
    if (!match_session(*rules, session.index(), entry, now, &known.match)) return std::nullopt;
    known.session = entry.id;
    known.change_count = entry.change_count;
    known.rules_version = rules_version;
  }
  facts.matches = known.match.rules;
  facts.matches_until = known.match.valid_until;
  return facts;
}

// The time at which `status` was read, as exact as its clocks need it. A scan may take long, because the
// scanner can be preempted, and the duration of the scan must not be added to the age of a transaction that
// began after it started. If the wall clock was set back, this reads the clocks needlessly, which does no
// harm.
Now time_of(const SessionStatus& status, Now scan) {
  const bool has_begun_since = status.state_start > scan.wall || status.xact_start > scan.wall;
  return has_begun_since ? read_clocks() : scan;
}

// Reads the entry together with what its backend published at the same moment. Returns kBusy also if a
// transaction ended in between.
StatusRead read_status_whole(TrackedSession session, StatusEntry* entry, SessionStatus* status) {
  const TransactionReport report = session.backend().report();
  const StatusRead result = read_status(session.index(), entry);
  if (result != StatusRead::kDone) return result;
  if (session.backend().report().ended_count != report.ended_count) return StatusRead::kBusy;
  *status = combine(*entry, report);
  return StatusRead::kDone;
}

// A session that has gone still shows its last state until another one takes its entry.
void read_absence(const Episode* open, const StatusEntry& entry, StatusRead read, SessionSnapshot* snapshot) {
  snapshot->is_present = false;
  if (open == nullptr) return;
  const bool is_left = read == StatusRead::kUnused && entry.id.backend_start == open->session.backend_start;
  snapshot->last_state = is_left ? entry.state : open->progress.last_state;
}

std::optional<ManualRequest> read_manual_request(TrackedSession session) {
  if (shared->manual_requests.load(std::memory_order_acquire) == 0) return std::nullopt;
  LWLockAcquire(shared->manual_lock, LW_SHARED);
  const ManualRequest request = session.manual_request();
  LWLockRelease(shared->manual_lock);
  if (request.phase != ManualRequest::Phase::kAsked) return std::nullopt;
  return request;
}

// The order matters. The reply is read after the status, so that nothing the session did before replying is
// missed; and only a sleep seen after the reply proves anything.
void read_action(TrackedSession session, SessionId id, SessionSnapshot* snapshot) {
  BackendOwner owner;
  snapshot->action = session.running_action();
  if (snapshot->action.action != Action::kNone)
    snapshot->reply = session.action_slot().reply_to(snapshot->action.nonce);
  if (session.backend().read_owner(id, &owner)) snapshot->wait = read_wait(owner.proc_index);
}

std::optional<SocketQueue> read_queue(TrackedSession session, SessionId id) {
  ClientSocket socket;
  if (!session.backend().read_socket(id, &socket)) return std::nullopt;
  return read_socket_queue(socket);
}

// A server that reads from its client notices by itself that the client has gone; one that works or sends
// does not.
void read_peer(TrackedSession session, SessionSnapshot* snapshot) {
  MonotonicTime& read_at = peer_read_at[session.index()];
  const Micros interval = snapshot->wait == SessionWait::kClientRead ? kIdlePeerInterval : kPeerInterval;
  if (read_at.is_set() && snapshot->now.monotonic - read_at < interval) return;
  read_at = snapshot->now.monotonic;
  const std::optional<SocketQueue> queue = read_queue(session, snapshot->status.id);
  if (queue) snapshot->client_gone = queue->is_peer_gone;
}

// What shows whether a session that waits for its client makes progress. Costs a few system calls, so it is
// read at most once a second, and only of sessions that may be stalled.
void read_evidence(TrackedSession session, SessionSnapshot* snapshot) {
  const SessionStatus& status = snapshot->status;
  const bool may_stall = waits_for_client(*snapshot) && !is_idle_in_transaction(status.state);
  const StallWatch& stall = snapshot->clocks.stall;
  const bool is_known = snapshot->clocks.id == status.id && !stall.wants_evidence(snapshot->now.monotonic);
  if (!may_stall || is_known) return;
  ProgressEvidence evidence{};
  if (!read_progress(session.index(), status.id, &evidence)) return;
  evidence.run_time = read_run_time(status.id.pid);
  evidence.is_sending = snapshot->wait == SessionWait::kClientWrite;
  if (const std::optional<SocketQueue> queue = read_queue(session, status.id)) {
    evidence.unread = queue->unread;
    evidence.transferred = queue->transferred;
  }
  snapshot->evidence = evidence;
}

bool read_held(TrackedSession session, SessionId id, const BackendOwner& owner, SessionSnapshot* snapshot) {
  HeldResources held;
  if (!read_held_resources(owner.proc_index, id.pid, &held)) return false;
  held.listens = session.backend().listens();
  snapshot->is_superuser = owner.is_superuser;
  snapshot->held = held;
  return true;
}

void read_contention(int proc_index, bool with_waiting, SessionSnapshot* snapshot) {
  ContentionReading* const reading = contention_buffer;
  reading->at = snapshot->now.monotonic;
  reading->locks = snapshot->held->locks;
  reading->blocked = snapshot->held->blocked;
  read_held_locks(proc_index, &reading->held);
  reading->held.listens = snapshot->held->listens;
  reading->waiting.count = 0;
  if (with_waiting) read_waiting_sessions(proc_index, &reading->waiting);
  snapshot->contention = reading;
}

// If what is known of the open episode's locks and waiters is too old.
void refresh_contention(TrackedSession session, int proc_index, SessionSnapshot* snapshot) {
  const std::int64_t leak_id = session.record().episode.leak_id;
  const Contention& known = session.contention();
  if (is_stale(known, leak_id, session.record().impact, *snapshot->held, snapshot->now.monotonic))
    read_contention(proc_index, wants_waiting(known, leak_id, snapshot->held->blocked), snapshot);
}

// Nearly every decision about an open episode needs what the session holds. Reading that right away saves a
// second decision; if it cannot be read, the decision asks for it.
void read_held_early(TrackedSession session, SessionSnapshot* snapshot) {
  const SessionId id = snapshot->status.id;
  BackendOwner owner;
  if (session.backend().read_owner(id, &owner) && read_held(session, id, owner, snapshot))
    refresh_contention(session, owner.proc_index, snapshot);
}

// A session that has nothing left to do but to deliver notifications is in no transaction, and no state shows
// that it waits for its client. A signal makes it run for a moment, which is no sign that its client reads.
bool is_delivering(TrackedSession session, const StatusEntry& entry, const Episode* open,
                   const SessionSnapshot& snapshot) {
  if (entry.state != SessionState::kIdle || entry.xact_start.is_set()) return false;
  if (!has_mark(session_marks()[session.index()], Mark::kStalled) || !session.backend().listens())
    return false;
  BackendOwner owner;
  if (!session.backend().read_owner(entry.id, &owner)) return false;
  if (read_wait(owner.proc_index) == SessionWait::kClientWrite) return true;
  const StallWatch& stall = snapshot.clocks.stall;
  return open != nullptr && stall.since.is_set() && stall.last.change_count == entry.change_count &&
         snapshot.now.monotonic - stall.checked_at < StallWatch::kLongestInterruption;
}

void read_keepalive(TrackedSession session, SessionSnapshot* snapshot) {
  const Trail* const trail = trail_of(session.index());
  if (trail == nullptr || !has_run_since(snapshot->clocks, snapshot->status)) return;
  TrailEntry newest;
  if (trail->read_newest(snapshot->clocks.xact_seq, &newest))
    pass_over_keepalive(&snapshot->clocks, snapshot->status, newest);
}

// What does not show in the session's state.
void read_holding(TrackedSession session, const StatusEntry& entry, const Episode* open,
                  SessionSnapshot* snapshot) {
  const std::uint8_t marks = session_marks()[session.index()];
  if (marks == 0) return;
  snapshot->waiters = session.waiters(entry.change_count);
  BackendOwner owner;
  if (open == nullptr && has_mark(marks, Mark::kStalled) && session.backend().read_owner(entry.id, &owner))
    snapshot->wait = read_wait(owner.proc_index);
  if (open != nullptr) read_peer(session, snapshot);
  read_evidence(session, snapshot);
}

}  // namespace

void prepare_session_reader() {
  const Size slots = static_cast<Size>(shared->slot_count);
  peer_read_at =
      static_cast<MonotonicTime*>(MemoryContextAllocZero(TopMemoryContext, slots * sizeof(MonotonicTime)));
  statement_buffer = static_cast<char*>(
      MemoryContextAlloc(TopMemoryContext, static_cast<Size>(pgstat_track_activity_query_size)));
  contention_buffer =
      static_cast<ContentionReading*>(MemoryContextAllocZero(TopMemoryContext, sizeof(ContentionReading)));
  rules = static_cast<RuleSet*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RuleSet)));
  next_rules = static_cast<RuleSet*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RuleSet)));
  known_matches =
      static_cast<KnownMatch*>(MemoryContextAllocZero(TopMemoryContext, slots * sizeof(KnownMatch)));
}

SessionWait read_wait(int proc_index) {
  switch (wait_event_of(proc_index)) {
    case WAIT_EVENT_CLIENT_READ:
      return SessionWait::kClientRead;
    case WAIT_EVENT_CLIENT_WRITE:
      return SessionWait::kClientWrite;
    case WAIT_EVENT_SYNC_REP:
      return SessionWait::kSyncRep;
    default:
      return SessionWait::kOther;
  }
}

const RuleSet& refresh_rules() {
  Assert(is_scanner());
  // If the rules are published again during the copy, the copy is newer than `version` says, and the next
  // scan copies it again.
  const std::uint64_t version = shared_rules->version.load(std::memory_order_acquire);
  if (version == rules_version || !read_rules(next_rules)) return *rules;
  RuleSet* const old = rules;
  rules = next_rules;
  next_rules = old;
  rules_version = version;
  return *rules;
}

bool read_session(TrackedSession session, const ScanContext& scan, SessionSnapshot* snapshot) {
  const Episode* const open = session.open_episode();
  StatusEntry entry{};
  const StatusRead read = read_status_whole(session, &entry, &snapshot->status);
  if (read == StatusRead::kBusy) return false;

  snapshot->slot = session.index();
  snapshot->contention = nullptr;
  snapshot->is_present = read == StatusRead::kDone && (open == nullptr || entry.id == open->session);
  snapshot->is_client_backend = entry.is_client_backend;
  snapshot->now = snapshot->is_present ? time_of(snapshot->status, scan.now) : scan.now;
  snapshot->clocks = session.record().clocks;
  snapshot->action.action = Action::kNone;
  snapshot->wait = SessionWait::kOther;
  if (snapshot->is_present) {
    snapshot->status.is_delivering = is_delivering(session, entry, open, *snapshot);
    snapshot->last_state = entry.state;
    snapshot->query_id = entry.query_id;
    if (entry.is_client_backend) snapshot->limits = read_limits(session, entry, scan.now.wall);
    read_keepalive(session, snapshot);
  } else {
    read_absence(open, entry, read, snapshot);
  }
  if (open != nullptr) {
    snapshot->is_declared = session.backend().is_declared();
    snapshot->leaves_debris = session.backend().leaves_debris();
    snapshot->watched_end = session.backend().watched_end();
    snapshot->aborted_at = session.action_slot().aborted_at.load(std::memory_order_relaxed);
    read_action(session, open->session, snapshot);
    if (snapshot->is_present && snapshot->action.action == Action::kNone) read_held_early(session, snapshot);
  }
  snapshot->manual = read_manual_request(session);
  if (snapshot->is_present && entry.is_client_backend) read_holding(session, entry, open, snapshot);
  return true;
}

bool read_more(TrackedSession session, const Decision& decision, SessionSnapshot* snapshot) {
  const SessionId id = snapshot->status.id;
  BackendOwner owner;
  if (!session.backend().read_owner(id, &owner)) return false;
  if (decision.needs_held && !read_held(session, id, owner, snapshot)) return false;
  if (decision.needs_held && session.open_episode() != nullptr)
    refresh_contention(session, owner.proc_index, snapshot);
  if (decision.needs_details) {
    int length = 0;
    SessionDetails& details = snapshot->details.emplace();
    if (!read_status_strings(session.index(), id, &details.who, statement_buffer,
                             pgstat_track_activity_query_size, &length))
      return false;
    strlcpy(details.who.database, owner.database, kNameSize);
    strlcpy(details.who.role, owner.role, kNameSize);
    details.who.encoding = owner.encoding;
    details.proc_index = owner.proc_index;
    details.wait_event = wait_event_of(owner.proc_index);
    details.statement = statement_buffer;
    if (snapshot->held) read_contention(owner.proc_index, snapshot->held->blocked > 0, snapshot);
  }
  return true;
}

}  // namespace pgleak
