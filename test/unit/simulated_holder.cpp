// What a simulated session holds, who waits for that, and how it waits for its client in the middle of
// something.
#include <tuple>

#include "simulated_session.hpp"

namespace pgleak {

namespace {

auto contents_of(const StatusEntry& entry) {
  return std::make_tuple(entry.id.pid, entry.id.backend_start.us, entry.state, entry.xact_start.us,
                         entry.state_start.us);
}

}  // namespace

// --- who waits for what it holds ---

void TrueWaits::begin(Target what, MonotonicTime now) {
  // The scanner takes what it sees in a scan as seen at its begin.
  constexpr Micros kLongestLook = kSecond;
  if (!run_since.is_set() || now - last > kBlockingGap + kLongestLook) {
    run_since = now;
    is_for_session = false;
  }
  target = what;
  is_for_session |= what == Target::kSession;
}

void TrueWaits::end(MonotonicTime now) {
  if (target == Target::kNobody) return;
  target = Target::kNobody;
  last = now;
}

Micros TrueWaits::run_length(MonotonicTime now) const {
  if (!run_since.is_set()) return Micros{-1};
  return (target != Target::kNobody ? now : last) - run_since;
}

bool SimulatedSession::others_wait() const {
  return waits.target != TrueWaits::Target::kNobody && !held.waits;
}

void SimulatedSession::show_waiters() {
  const bool has_waiters = others_wait();
  if (has_waiters == (held.blocked > 0)) return;
  held.blocked = has_waiters ? 1 + machine_.random.below(3) : 0;
  held.blocked_since = has_waiters ? machine_.time.wall() : WallTime::none();
}

void SimulatedSession::lock_something() {
  Random& random = machine_.random;
  if (!is_claimed_ || is_exiting_) return;
  if (has_transaction_ && !is_delivering_ && random.chance(30)) has_locks_ = true;
  if (!has_session_lock_ && random.chance(6)) {
    has_session_lock_ = true;
  } else if (has_session_lock_ && random.chance(5)) {
    release_session_lock();
  }
  show_waiters();
}

void SimulatedSession::release_locks() {
  has_locks_ = false;
  if (waits.target == TrueWaits::Target::kTransaction) waits.end(machine_.time.monotonic());
  show_waiters();
}

void SimulatedSession::release_session_lock() {
  has_session_lock_ = false;
  if (waits.target == TrueWaits::Target::kSession) waits.end(machine_.time.monotonic());
  show_waiters();
}

void SimulatedSession::let_waiter_come_or_go() {
  Random& random = machine_.random;
  const MonotonicTime now = machine_.time.monotonic();
  if (waits.target != TrueWaits::Target::kNobody)
    waits.end(now);
  else if (has_session_lock_ && !is_exiting_)
    waits.begin(TrueWaits::Target::kSession, now);
  else if (has_locks_ && !is_exiting_)
    waits.begin(TrueWaits::Target::kTransaction, now);
  show_waiters();
  // Some wait for long, some come and go.
  const bool waits_long = waits.target != TrueWaits::Target::kNobody && random.chance(60);
  waiter_at_ = after(waits_long ? 2 * kMinute : 15 * kSecond);
}

// --- how it waits for its client ---

std::uint32_t SimulatedSession::version() {
  if (contents_of(shown_) != contents_of(entry)) version_++;
  shown_ = entry;
  return version_;
}

ProgressEvidence SimulatedSession::evidence() {
  ProgressEvidence evidence{version(),   reports_progress_, counters_,   std::nullopt,
                            is_sending_, std::nullopt,      std::nullopt};
  if (knows_run_time_) evidence.run_time = run_time_;
  if (is_sending_ && knows_unread_) evidence.unread = unread_;
  if (counts_bytes_) evidence.transferred = transferred_;
  return evidence;
}

void SimulatedSession::begin_to_wait_for_client() {
  waits_for_client_ = true;
  was_woken = false;
  is_sending_ = machine_.random.chance(50);
  reports_progress_ = machine_.random.chance(50);
  stalled_since = visibly_stalled_since = machine_.time.monotonic();
}

// The client has sent or read something, and is silent again.
void SimulatedSession::move_data() {
  stalled_since = machine_.time.monotonic();
  transferred_++;
  if (reports_progress_ || is_sending_ || counts_bytes_) visibly_stalled_since = stalled_since;
  if (reports_progress_) counters_++;
  if (is_sending_) unread_++;
}

// It is idle, and its client does not read the notifications that others send. The server shows the start of
// the last statement as that of the transaction.
void SimulatedSession::begin_delivery() {
  begin_to_wait_for_client();
  is_sending_ = true;
  begin_transaction();
  is_delivering_ = true;
  version_++;  // also if what it shows is what it has shown before
  entry.xact_start = statement_start_;
}

void SimulatedSession::end_delivery() {
  is_delivering_ = false;
  version_++;
  end_block(TransactionEnd::kCommitted);
}

}  // namespace pgleak
