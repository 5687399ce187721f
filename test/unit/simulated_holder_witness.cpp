// What the witness says of sessions that others wait behind, and of those that are stalled.
#include <algorithm>

#include "simulated_witness.hpp"

namespace pgleak {

namespace {

// A scan takes a while, and what it has found at its begin is noted when the session is read.
constexpr Micros kLongScan = 2 * kSecond;

}  // namespace

void Witness::looked(int slot, const SimulatedSession& session) {
  Books& books = books_[slot];
  // A run may end, and another begin, since the scan has begun.
  books.longest_wait = std::max(books.longest_wait, session.waits.run_length(machine_.time.monotonic()));
  books.is_for_session |= session.waits.is_for_session;
  books.stalled_for =
      machine_.time.monotonic() - (session.was_woken ? session.visibly_stalled_since : session.stalled_since);
}

void Witness::note_sighting(Books* books, const SessionSnapshot& snapshot, const Decision& decision) {
  const TransactionBlock block = current_block(snapshot.status);
  if (snapshot.evidence && snapshot.is_present) books->stalled_for_at_check = books->stalled_for;
  const bool is_in_transaction = block.exists && snapshot.status.xact_start.is_set();
  // While it rolls back in place, it shows what no client can bring about.
  const SessionState state = snapshot.status.state;
  const bool is_outside =
      state == SessionState::kIdle || (block.exists && state == SessionState::kIdleInTransactionAborted);
  const bool shows_holder = is_in_transaction || is_outside;
  const bool blocks_others = snapshot.waiters.value_or(Waiters::kNone) != Waiters::kNone;
  if (!decision.clocks || !snapshot.is_present || !blocks_others || !shows_holder) return;
  books->sightings.push_back(
      Sighting{snapshot.now.monotonic, snapshot.status.id, !is_in_transaction, block.xact_seq});
}

// How long the scanner must have seen others waiting by `now` at least; negative if it need not have.
Micros Witness::shortest_wait(const Books& books, const SessionStatus& status, MonotonicTime now) const {
  const TransactionBlock block = current_block(status);
  MonotonicTime last = MonotonicTime::none();
  MonotonicTime before = now;
  Micros shortest{-1};
  // What has been rolled back is not in the way any more, though its block remains.
  bool is_same_transaction = block.exists && status.xact_start.is_set();
  for (auto seen = books.sightings.rbegin(); seen != books.sightings.rend(); ++seen) {
    if (seen->session != status.id || before - seen->at > kBlockingGap) break;
    if (!last.is_set()) last = seen->at;
    before = seen->at;
    is_same_transaction = is_same_transaction && !seen->is_outside && seen->xact_seq == block.xact_seq;
    // Once seen outside of a transaction, it goes on through all that follows.
    if (is_same_transaction || seen->is_outside) shortest = last - seen->at;
  }
  return shortest;
}

void Witness::check_holder(const Books& books, const SimulatedSession& session,
                           const SessionSnapshot& snapshot, const Decision& decision) {
  const SessionStatus& status = snapshot.status;
  const TransactionBlock block = current_block(status);
  const Ages& ages = decision.ages;
  if (ages.blocking) {
    const Micros scan_time = machine_.time.monotonic() - scan_now_;
    expect(*ages.blocking <= books.longest_wait + scan_time + kSecond, "others have really waited that long");
    if (decision.clocks->blocking.is_session_level)
      expect(books.is_for_session, "somebody has waited for what the session holds outside of transactions");
    else
      expect(session.current_seq() != block.xact_seq || session.entry.id != status.id ||
                 *ages.blocking <= machine_.time.monotonic() - session.open.since + kLongScan,
             "a transaction's watch begins with it");
  }
  if (is_idle_in_transaction(status.state)) {
    expect(ages.idle.has_value(), "the idle clock runs while a session is idle in its transaction");
  } else if (!block.exists) {
    expect(ages.idle.has_value() == (ages.blocking.has_value() && status.state == SessionState::kIdle),
           "outside of a transaction the idle clock runs while others wait");
    expect(!ages.idle || *ages.idle <= *ages.blocking, "nobody is idle for longer than others wait");
  } else if (ages.idle) {
    coverage_.add("is seen waiting for its client");
    expect(waits_for_client(snapshot), "who is stalled waits for its client");
    if (session.changes == books.changes)
      expect(*ages.idle <= books.stalled_for_at_check + kLongScan, "who is stalled made no progress");
  }
}

void Witness::closed_session_level(int slot, const SimulatedSession& session, const Episode& episode,
                                   Outcome outcome) {
  expect(open_leaks_.erase(episode.leak_id) == 1, "an episode closes once");
  coverage_.add(std::string("session-level outcome: ") + to_string(outcome));
  const bool is_there = session.entry.id == episode.session && session.is_running();
  expect(
      outcome == Outcome::kReleased || outcome == Outcome::kDisconnected || outcome == Outcome::kTerminated,
      "a session-level episode ends with the wait or with the session");
  expect(outcome == Outcome::kReleased || !is_there, "a session that is there has not gone");
  if (outcome == Outcome::kTerminated)
    expect(session.told_to_go == episode.session || session.terminated == episode.session ||
               session.entry.id != episode.session,
           "a session that was terminated has been told to go");
  // By hand, a session is reached that holds nothing.
  if (outcome != Outcome::kReleased || episode.limit_source == LimitSource::kManual) return;
  SessionStatus outside{};
  outside.id = episode.session;
  expect(shortest_wait(books_[slot], outside, machine_.time.monotonic()) < Micros{0},
         "it is released when nobody has waited for 10 s");
}

}  // namespace pgleak
