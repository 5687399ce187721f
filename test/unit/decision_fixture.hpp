// A decision about one session, of which each test changes what it is about.
#ifndef PGLEAK_TEST_UNIT_DECISION_FIXTURE_HPP
#define PGLEAK_TEST_UNIT_DECISION_FIXTURE_HPP

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "core/decision.hpp"
#include "samples.hpp"

namespace pgleak {

using EpisodeStep = Decision::EpisodeStep;
using ActionStep = Decision::ActionStep;

inline constexpr XactSeq kSeq = 5;
inline constexpr HeldResources kHarmless{0, 0, 0, 0, WallTime::none(), 1000, false, 0, false};
inline constexpr HeldResources kLocking{0, 0, 3, 0, WallTime::none(), 1000, false, 0, false};
inline constexpr HeldResources kBlocking{900, 0, 3, 2, WallTime::none(), 1000, false, 0, false};

// A session that has been idle in its transaction for a minute; limits are a leak after 10 s, a cancel after
// 20 s, a terminate after an hour. No scan has seen it before.
class DecisionTest : public testing::Test {
 protected:
  DecisionTest() {
    LimitValues server = all_off();
    server = with(server, Clock::kIdle, LimitKind::kLeak, 10 * kSecond);
    server = with(server, Clock::kIdle, LimitKind::kCancel, 20 * kSecond);
    server = with(server, Clock::kIdle, LimitKind::kTerminate, kHour);
    inputs_ = ScanInputs{server, Impact::kNone, rules_.get(), true, {}, false, false, false, 100};
    be(idle_in_transaction(time_.wall() - 2 * kMinute, time_.wall() - kMinute, kSeq));
    snapshot_.slot = 7;
    snapshot_.is_present = snapshot_.is_client_backend = true;
    snapshot_.now = time_.now();
    snapshot_.limits = LimitFacts{nothing_set(), std::nullopt, {}, kEndOfTime};
    snapshot_.held = kHarmless;
    snapshot_.details.emplace();
    open_.leak_id = 42;
    open_.session = kSomeSession;
    open_.xact_seq = kSeq;
  }

  void be(const SessionStatus& status) {
    snapshot_.status = status;
    snapshot_.last_state = status.state;
  }
  void be_gone() { snapshot_.is_present = false; }
  void pass(Micros duration) {
    time_.pass(duration);
    snapshot_.now = time_.now();
  }
  void limit(LimitKind kind, Micros duration) {
    inputs_.server_limits = with(inputs_.server_limits, Clock::kIdle, kind, duration);
  }
  void ask(Action action, XactSeq xact_seq = kSeq) {
    snapshot_.manual = ManualRequest{};
    snapshot_.manual->phase = ManualRequest::Phase::kAsked;
    snapshot_.manual->action = action;
    snapshot_.manual->session = kSomeSession;
    snapshot_.manual->xact_seq = xact_seq;
    std::strcpy(snapshot_.manual->by_login, "dba");
  }
  void use_up(TimeBudget* budget) { budget->spend(TimeBudget::kTime); }
  void be_active() {
    be(active_in_transaction(time_.wall() - 2 * kMinute, time_.wall() - kMinute, kSeq));
    inputs_.server_limits = with(inputs_.server_limits, Clock::kTransaction, LimitKind::kLeak, 10 * kSecond);
    inputs_.server_limits =
        with(inputs_.server_limits, Clock::kTransaction, LimitKind::kCancel, 20 * kSecond);
  }
  // An action is under way, and its first message has been answered by `reply`.
  void run(Action action, Reply reply, bool is_asleep = true) {
    run(RunningAction{action, false, snapshot_.status.state_start, false, time_.monotonic(), 1, Handshake{}},
        reply);
    note_sent(&snapshot_.action.handshake, time_.monotonic());
    snapshot_.wait = is_asleep ? SessionWait::kClientRead : SessionWait::kOther;
  }
  // A signal is under way to an active session, whose handler has answered `reply`.
  void run_signal(Action action, Reply reply) {
    be_active();
    run(RunningAction{action, true, snapshot_.status.state_start, false, time_.monotonic(), 1, Handshake{}},
        reply);
    snapshot_.wait = SessionWait::kOther;
  }
  void run(const RunningAction& action, Reply reply) {
    snapshot_.action = action;
    snapshot_.reply = reply;
    open_.progress.action.last = action.action;
    open_.progress.action.result = ActionResult::kRequested;
  }

  void be_idle_outside(XactSeq ended_count = kSeq) {
    SampleOf sample;
    sample.state_start = time_.wall();
    sample.ended_count = ended_count;
    sample.last_end = TransactionEnd::kCommitted;
    be(sample);
  }
  void be_active_in(XactSeq seq) { be(active_in_transaction(time_.wall(), time_.wall(), seq)); }
  Decision consider() { return decide(snapshot_, nullptr, inputs_, &budgets_); }
  Decision follow() { return decide(snapshot_, &open_, inputs_, &budgets_); }
  // As scanner/apply does.
  Decision follow_and_keep() {
    const Decision decision = follow();
    open_.progress = decision.progress;
    return decision;
  }

  // A scan of a session without an open episode, as scanner/apply stores its clocks.
  Decision consider_and_store() {
    const Decision decision = consider();
    if (decision.clocks) snapshot_.clocks = *decision.clocks;
    return decision;
  }
  Decision follow_and_store() {
    const Decision decision = follow();
    if (decision.episode == EpisodeStep::kKeep) open_.progress = decision.progress;
    if (decision.clocks) snapshot_.clocks = *decision.clocks;
    return decision;
  }

  FakeTime time_;
  std::unique_ptr<RuleSet> rules_ = std::make_unique<RuleSet>();
  ScanInputs inputs_{};
  Budgets budgets_{};
  SessionSnapshot snapshot_{};
  Episode open_{};
};

}  // namespace pgleak

#endif
