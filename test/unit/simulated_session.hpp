// A simulated machine for lives of leaks: its clocks, its random numbers, and the backends on it.
//
// A simulated backend publishes through the real BackendSlot and answers through the real ActionSlot and
// MessageGate. What it shows of itself in its status entry, and in which order, follows the server. Beside
// that it keeps the truth, which no scanner can see: how each of its transactions really ended.
#ifndef PGLEAK_TEST_UNIT_SIMULATED_SESSION_HPP
#define PGLEAK_TEST_UNIT_SIMULATED_SESSION_HPP

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/blocking_watch.hpp"
#include "core/decision.hpp"
#include "core/handshake.hpp"
#include "samples.hpp"
#include "shmem/action_request.hpp"
#include "shmem/backend_slot.hpp"

namespace pgleak {

// The same numbers from the same seed on every machine, which the distributions of <random> do not promise.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  int below(int bound) { return static_cast<int>(next() % static_cast<std::uint64_t>(bound)); }
  bool chance(int percent) { return below(100) < percent; }
  // From 1 us to `longest`, short ones as often as long ones.
  Micros duration(Micros longest);

 private:
  std::uint64_t state_;
};

// How often the lives came to something, so that no promise is kept because it was never put to the test.
struct Coverage {
  std::map<std::string, int> count;
  void add(const std::string& what) { count[what]++; }
  int count_of(const std::string& what) const {
    const auto found = count.find(what);
    return found != count.end() ? found->second : 0;
  }
};

// What was written down about an action, or done to a session, in the order of time.
struct LogEntry {
  enum class Kind : std::uint8_t { kEvidence, kDeed };
  Kind kind;
  Action action;
  std::int64_t leak_id;
  bool is_meant;  // a deed: it hits the transaction that was judged
};

// What all simulated sessions share.
struct Machine {
  explicit Machine(std::uint64_t seed) : random(seed) {}

  FakeTime time;
  Random random;
  int clock_changes = 0;  // how often somebody set the wall clock
  std::int32_t last_pid = 1000;
  std::vector<LogEntry> log;
  Coverage coverage;
  bool is_scanner_woken = false;  // a backend has answered
};

// How long a thing has really lasted, and how exactly a scanner can know it.
struct TrueClock {
  MonotonicTime since;
  int clock_changes;  // of the machine at `since`
  // What the server shows as the start: that of the message, for each transaction in it.
  MonotonicTime shown_since;

  // When a scan first measured it, and between which bounds its age may have been found then.
  bool is_seen;
  MonotonicTime first_seen;
  Micros at_least;
  Micros at_most;

  void start(const Machine& machine);
  // A scan measures it at `now`; `previous` is when the last complete one of those that would have seen it
  // was.
  void see(Now now, int changes_now, MonotonicTime previous);
  Micros lower_bound(MonotonicTime now) const { return at_least + (now - first_seen); }
  Micros upper_bound(MonotonicTime now) const { return at_most + (now - first_seen); }
};

// What really happened to one transaction of a slot.
struct TrueTransaction {
  TransactionEnd end = TransactionEnd::kNone;  // of its block
  bool is_cancelled = false;                   // pgleak rolled it back or cancelled its query
  std::int64_t cancelled_for = 0;              // the leak because of which
  bool is_terminated = false;                  // pgleak ended its session
  // Its backend has accepted a cancel, which may come too late, or take effect after the scanner gave it up.
  bool has_accepted_cancel = false;
  // The same of a terminate.
  bool has_accepted_terminate = false;
  // Its session left while a statement of an aborted block was running, or left it to another session
  // between two scans: what can be seen afterwards does not tell how it ended.
  bool is_ambiguous = false;
};

// How others have really waited behind a session. Waits that follow each other within kBlockingGap are one
// run.
struct TrueWaits {
  // What they wait for now: a lock of the transaction, or one that the session holds outside of transactions.
  enum class Target : std::uint8_t { kNobody, kTransaction, kSession };
  Target target;
  MonotonicTime run_since;  // none: nobody has waited yet
  MonotonicTime last;       // when a wait ended last
  bool is_for_session;      // in this run somebody waited for what the session holds outside of transactions

  void begin(Target what, MonotonicTime now);
  void end(MonotonicTime now);
  // From its first wait to its last, or to now.
  Micros run_length(MonotonicTime now) const;
};

class SimulatedSession {
 public:
  explicit SimulatedSession(Machine* machine) : machine_(*machine), client_at_(after(10 * kSecond)) {}

  // --- what a scanner can see and write ---
  BackendSlot backend{};
  ActionSlot action{};
  ManualRequest manual{};
  StatusEntry entry{};
  HeldResources held{};
  bool is_declared() const { return backend.is_declared(); }
  SessionWait wait() const;
  std::uint32_t version();      // its status entry's
  ProgressEvidence evidence();  // of its progress
  bool others_wait() const;     // behind it, as the root of the chain

  // --- what reaches the backend ---
  void send_message(std::uint32_t nonce);
  void send_interrupt(const ActionRequest& request);
  void send_terminate();

  // --- its life ---
  MonotonicTime next_at() const;  // when it next does something
  void step();                    // does it
  void hurry(int steps);          // its client does what it would do next, now
  void leave();                   // the client disconnects now, and nobody takes the slot again

  // --- the truth ---
  bool is_running() const { return entry.id.pid > 0 && !is_exiting_; }
  bool is_in_block() const { return is_in_block_ && !is_exiting_; }
  // The transaction and the state that `request` is about are what the session is in now.
  bool is_meant(const ActionRequest& request) const;
  bool waits_for_standby() const { return is_ending_ && is_syncing_; }
  XactSeq xact_seq() const { return xact_seq_; }
  // Of the block that it is in or, outside of one, of its next transaction.
  XactSeq current_seq() const { return is_in_block_ ? xact_seq_ : backend.report().ended_count; }
  TrueTransaction& transaction(XactSeq xact_seq) {
    if (xact_seq >= transactions_.size()) transactions_.resize(xact_seq + 1);
    return transactions_[xact_seq];
  }
  TrueWaits waits{};
  // When it began to wait for its client in the middle of something, or last moved data.
  MonotonicTime stalled_since = MonotonicTime::none();
  MonotonicTime visibly_stalled_since = MonotonicTime::none();  // by what a signal cannot change
  bool was_woken = false;                                       // by pgleak, since then
  SessionId terminated{};                                       // pgleak ended this session
  SessionId told_to_go{};                                       // and this one has accepted that
  TrueClock idle{};
  TrueClock open{};  // since the transaction began
  int changes = 0;   // counts whatever happens to the session
  bool is_superuser = false;

 private:
  static constexpr Micros kDeliveryTime = 50 * kMillisecond;

  enum class Command {
    kStatement,
    kFail,
    kSavepoint,
    kRollbackTo,
    kBegin,
    kCommit,
    kRollback,
    kPrepare,
    kCommitAndBegin,    // one message
    kBeginCommitBegin,  // one message
  };

  MonotonicTime after(Micros longest) {
    return machine_.time.monotonic() + machine_.random.duration(longest);
  }
  bool is_plain_aborted() const { return is_in_block_ && !has_transaction_; }
  void connect();
  void exit();
  void act_as_client();
  Command choose_command();
  void start(Command command);
  void finish();
  void finish_in_block();
  void begin_transaction();
  void begin_next();
  void end_block(TransactionEnd how);
  void begin_end();
  void finish_end();
  void withdraw_cancel();
  void answer_cancel();
  void fail();
  void handle_interrupt();
  void check_interrupts();
  void show_idle(SessionState state);
  void handle_message();
  bool may_act(const ActionRequest& request) const;
  void act_on(const ActionRequest& request);
  void go_on_acting();
  void roll_back_in_place();
  void show_rollback();
  void note_deed(const ActionRequest& request);
  void hold_something();
  void set_up();
  // simulated_holder.cpp
  void lock_something();
  void release_locks();  // of the transaction
  void release_session_lock();
  void let_waiter_come_or_go();
  void show_waiters();
  void begin_to_wait_for_client();
  void move_data();
  void begin_delivery();
  void end_delivery();

  Machine& machine_;
  std::vector<TrueTransaction> transactions_;  // by their number

  bool is_left_ = false;          // for good
  bool is_claimed_ = false;       // the backend has taken its slot
  bool is_exiting_ = false;       // still in its entry
  bool is_in_block_ = false;      // or in a transaction of a single statement
  bool is_explicit_ = false;      // BEGIN was said
  bool has_transaction_ = false;  // not in a plain aborted block
  bool has_savepoint_ = false;
  bool is_failed_ = false;  // inside of the savepoint, or as a whole
  XactSeq xact_seq_ = 0;
  Command command_ = Command::kStatement;
  TrueClock command_clock_{};
  bool waits_for_client_ = false;  // in the middle of a command
  bool is_ending_ = false;         // its commit has begun
  bool is_syncing_ = false;        // and waits for a standby
  bool has_exported_ = false;      // its snapshot
  bool has_locks_ = false;         // that somebody may wait for, until its transaction ends
  bool has_session_lock_ = false;  // an advisory lock that outlives transactions
  bool is_delivering_ = false;     // notifications, idle, in a transaction of the server's own
  bool is_sending_ = false;        // it waits for its client to read
  bool reports_progress_ = false;  // the command does
  bool knows_run_time_ = true;     // the system tells
  bool knows_unread_ = true;
  bool counts_bytes_ = true;  // the system does, those exchanged with its client
  std::int64_t transferred_ = 0;
  std::uint64_t counters_ = 0;
  std::int64_t run_time_ = 0;
  std::int64_t unread_ = 0;
  WallTime statement_start_ = WallTime::none();
  StatusEntry shown_{};  // the entry at `version_`
  std::uint32_t version_ = 0;

  MonotonicTime client_at_;
  MonotonicTime waiter_at_ = MonotonicTime::none();  // somebody comes to wait, or gives up
  MonotonicTime message_at_ = MonotonicTime::none();
  MonotonicTime interrupt_at_ = MonotonicTime::none();
  MonotonicTime terminate_at_ = MonotonicTime::none();
  MonotonicTime check_at_ = MonotonicTime::none();  // for interrupts
  MonotonicTime acting_at_ = MonotonicTime::none();
  std::uint32_t message_nonce_ = 0;

  ActionRequest signalled_{};         // what the signal under way is about
  std::uint32_t accepted_nonce_ = 0;  // by the handler, for the transaction that runs
  bool is_cancel_pending_ = false;
  bool is_terminate_pending_ = false;

  MessageGate gate_{};
  std::uint64_t message_position_ = 0;
  ActionRequest acting_{};
  bool has_rolled_back_ = false;  // the first step of acting
};

}  // namespace pgleak

#endif
