// A scanner over simulated sessions: it reads, decides and applies in the order of src/scanner, and tells a
// Witness of everything.
#ifndef PGLEAK_TEST_UNIT_SIMULATED_SCANNER_HPP
#define PGLEAK_TEST_UNIT_SIMULATED_SCANNER_HPP

#include <array>
#include <cstdint>

#include "core/decision.hpp"
#include "simulated_session.hpp"
#include "simulated_witness.hpp"

namespace pgleak {

// What the server is set to, for one life.
struct SimulatedSettings {
  LimitValues limits;
  Impact min_impact;
  const RuleSet* rules;
  bool rules_are_loaded;
  bool dry_run;
  bool act_on_superusers;
  bool act_on_declared;
  std::int32_t max_actions_per_minute;
  bool is_slow;            // lines in the log take long
  bool changes_in_a_scan;  // sessions go on while a scan reads them
};

inline constexpr int kSimulatedSlots = 3;

// Fewer looks for waiters than there are, so that lives get on.
inline constexpr Micros kSimulatedLookInterval = 2 * kSecond;

class SimulatedScanner {
 public:
  explicit SimulatedScanner(std::uint64_t seed) : machine_(seed), witness_(&machine_) {}

  Machine& machine() { return machine_; }
  Witness& witness() { return witness_; }
  SimulatedSession& session(int slot) { return sessions_[static_cast<std::size_t>(slot)]; }
  SimulatedSettings settings{};

  // Time passes; the sessions do what they do.
  void pass(Micros duration) { pass_until(machine_.time.monotonic() + duration, false); }
  // As much of it as the scanner sleeps: a backend that answers wakes it.
  void sleep(Micros duration) { pass_until(machine_.time.monotonic() + duration, true); }
  // pgleak.cancel() and pgleak.terminate() of whoever is connected, and the asker who gives up.
  void request(int slot, Action action, XactSeq xact_seq);
  void withdraw(int slot);
  // Returns the time until the next scan is due.
  Micros scan();
  bool has_open_episode() const;

 private:
  struct Record {
    bool is_open = false;
    // What the scan has found of the session, whose state does not say so.
    bool is_root = false;
    std::uint32_t root_version = 0;
    bool is_stalled = false;
    Episode episode{};
    SessionClocks clocks{};
    RunningAction action{};
    const Episode* open_episode() const { return is_open ? &episode : nullptr; }
  };
  struct Scan {
    Now now;
    ScanInputs inputs;
    bool watches_transactions;
    Micros next_due_in;
  };

  Record& record(int slot) { return records_[static_cast<std::size_t>(slot)]; }
  void pass_until(MonotonicTime until, bool may_wake);
  void let_sessions_go_on();
  void process(int slot, Scan* scan);
  void find_holders(MonotonicTime now);
  bool may_be_stalled(const SimulatedSession& target) const;
  bool is_candidate(int slot, const Scan& scan);
  bool is_waiting_lately(MonotonicTime now) const;
  bool read(int slot, const Scan& scan, SessionSnapshot* snapshot);
  void read_holding(int slot, SessionSnapshot* snapshot);
  void read_action(int slot, SessionSnapshot* snapshot);
  bool read_more(int slot, const Decision& decision, SessionSnapshot* snapshot);
  Decision decide_twice(const SessionSnapshot& snapshot, const Episode* open, const ScanInputs& inputs);
  void apply(int slot, const SessionSnapshot& snapshot, const Decision& decision, Scan* scan);
  void open_episode(int slot, const SessionSnapshot& snapshot, const Decision& decision);
  void close_episode(int slot, Outcome outcome);
  void apply_action(int slot, const SessionSnapshot& snapshot, const Decision& decision);
  void begin(int slot, const SessionSnapshot& snapshot, const Decision& decision);
  void record_evidence(int slot, const Decision& decision);
  void send_request(int slot, Now now);
  void signal_active(int slot, Now now);
  bool may_signal(int slot);
  bool send_terminate(int slot);
  void finish(int slot, ActionResult result, Now now);
  void report_result(int slot);
  void drop_request(int slot);
  bool take_manual_request(int slot);
  void answer_manual_request(int slot, ActionResult result);

  Machine machine_;
  Witness witness_;
  std::array<SimulatedSession, kSimulatedSlots> sessions_{
      SimulatedSession(&machine_), SimulatedSession(&machine_), SimulatedSession(&machine_)};
  std::array<Record, kSimulatedSlots> records_{};
  PreviousScan previous_{};
  std::uint32_t snapshot_version_ = 0;   // of the status entry that was read last
  bool has_looked_for_waiters_ = false;  // in this scan
  MonotonicTime waiters_looked_for_at_ = MonotonicTime::none();
  MonotonicTime waiters_seen_at_ = MonotonicTime::none();
  MonotonicTime stalled_looked_for_at_ = MonotonicTime::none();
  int first_slot_ = 0;
  Budgets budgets_{};
  std::int64_t last_leak_id_ = 0;
  std::uint32_t last_nonce_ = 0;
  std::uint64_t last_request_id_ = 0;
};

}  // namespace pgleak

#endif
