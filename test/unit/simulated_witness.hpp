// What must hold in every life of a leak, checked against the truth that the simulation knows.
//
// The simulated scanner tells the witness of each decision and of each thing that it does. The witness keeps
// its own books and repeats no rule of core/decision in the form in which it stands there: an episode is
// judged by what really happened to its transaction, an action by the log, a time by the true clocks.
#ifndef PGLEAK_TEST_UNIT_SIMULATED_WITNESS_HPP
#define PGLEAK_TEST_UNIT_SIMULATED_WITNESS_HPP

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/blocking_watch.hpp"
#include "core/decision.hpp"
#include "simulated_session.hpp"

namespace pgleak {

class Witness {
 public:
  explicit Witness(Machine* machine)
      : machine_(*machine), born_(machine->time.monotonic()), coverage_(machine->coverage) {}

  // Empty while everything that must hold does.
  const std::string& first_violation() const { return first_violation_; }
  const Coverage& coverage() const { return coverage_; }

  // --- a scan ---
  void scan_begins(int slot, const SimulatedSession& session);
  // It has looked for those who wait behind the session.
  void looked(int slot, const SimulatedSession& session);
  void decided_twice(const Decision& first, const Decision& second);
  void asked_for_more(const SessionSnapshot& snapshot, const Decision& decision);
  void asked_for_nothing_more(const Decision& decision);
  void decided(int slot, SimulatedSession* session, const SessionSnapshot& snapshot, const Episode* open,
               const ScanInputs& inputs, const Decision& decision);
  // A scan that deferred nothing is over.
  void scanned(int slot, SimulatedSession* session, const Episode* open, const ScanInputs& inputs);

  // --- what follows from decisions ---
  void opened(int slot, const Episode& episode);
  void closes(bool is_open);
  void closed(const TrueTransaction& truth, const Episode& episode, Outcome outcome);
  void closed_session_level(int slot, const SimulatedSession& session, const Episode& episode,
                            Outcome outcome);
  void noted_evidence(const Episode& episode, const Decision& decision);
  void tried_signal(bool is_open);
  void finished(bool is_open, const Episode& episode);

  // --- requests by hand ---
  void asked(std::uint64_t request_id) { open_requests_.insert(request_id); }
  void withdrew(std::uint64_t request_id) { open_requests_.erase(request_id); }
  void answered(std::uint64_t request_id, ActionResult result);

  // The life is over: nothing may be left.
  void ended();

 private:
  // One thing that a clock measured, and what it showed last.
  struct Measured {
    WallTime started_at;
    XactSeq xact_seq;  // if it is a transaction
    SessionId session;
    MonotonicTime at;
    Micros age;
  };
  // Somebody was seen waiting behind the session.
  struct Sighting {
    MonotonicTime at;
    SessionId session;
    bool is_outside;  // of a transaction
    XactSeq xact_seq;
  };
  struct Books {
    int changes;  // of the session, when the scan began
    // The truth when the scan had looked.
    Micros longest_wait;
    bool is_for_session;
    Micros stalled_for;           // without progress that the scanner can know
    Micros stalled_for_at_check;  // when the evidence was read last
    std::vector<Sighting> sightings;
    Measured transaction;
    Measured idle;
    bool was_busy;               // by hand, or with an action that had begun before
    MonotonicTime promised;      // no leak before that, unless the session changes
    MonotonicTime next_promise;  // if the scan defers nothing
  };

  // The attempts of one action on one leak that had no effect, since any other result.
  struct NoEffects {
    int in_a_row = 0;
    MonotonicTime last = MonotonicTime::none();
  };

  void expect(bool holds, const char* promise);
  void check_holder(const Books& books, const SimulatedSession& session, const SessionSnapshot& snapshot,
                    const Decision& decision);
  void note_sighting(Books* books, const SessionSnapshot& snapshot, const Decision& decision);
  Micros shortest_wait(const Books& books, const SessionStatus& status, MonotonicTime now) const;
  void check_clocks(Books* books, SimulatedSession* session, const SessionSnapshot& snapshot,
                    const ScanInputs& inputs, const Decision& decision);
  void check_pace(Measured* measured, const SessionSnapshot& snapshot, WallTime started_at, XactSeq xact_seq,
                  std::optional<Micros> age);
  void check_opening(const Books& books, const SimulatedSession& session, const SessionSnapshot& snapshot,
                     const ScanInputs& inputs, const Decision& decision);
  void check_finished(SimulatedSession& session, const SessionSnapshot& snapshot, const Episode& open,
                      ActionResult result);
  void check_progress(const Episode& open, const Decision& decision);
  void check_step(const SimulatedSession& session, const SessionSnapshot& snapshot, const Episode* open,
                  const ScanInputs& inputs, const Decision& decision);
  void check_limit_action(const SimulatedSession& session, const SessionSnapshot& snapshot,
                          const Episode& open, const ScanInputs& inputs, const Decision& decision);
  bool has_passed(const SimulatedSession& session, const Limits& limits, LimitKind kind,
                  PreviousScan previous) const;
  bool may_be_acted_on(int slot, SimulatedSession* session, const Episode& open, Impact impact,
                       const LimitFacts& facts, const ScanInputs& inputs);
  void check_rate(MonotonicTime now, std::int32_t most);

  Machine& machine_;
  MonotonicTime born_;
  Coverage& coverage_;
  std::string first_violation_;
  std::map<int, Books> books_;
  MonotonicTime scan_now_ = MonotonicTime::none();

  std::set<std::pair<int, XactSeq>> ever_opened_;
  std::set<std::int64_t> open_leaks_;
  std::set<std::uint64_t> open_requests_;
  std::vector<MonotonicTime> limit_actions_;
  std::map<std::pair<std::int64_t, Action>, NoEffects> no_effects_;
  MonotonicTime warned_about_rate_ = MonotonicTime::none();
  int rules_warnings_ = 0;
};

}  // namespace pgleak

#endif
