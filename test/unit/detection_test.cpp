// Tests of core/detection: the ages on the two clocks from scan to scan, when they make a leak, and when the
// next check is due.
#include "core/detection.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

Ages ages(std::optional<Micros> idle, std::optional<Micros> transaction) {
  return Ages{idle, transaction, std::nullopt};
}

constexpr std::optional<Micros> kNoAge;

// A scanner that reads one slot.
class ReadClocksTest : public testing::Test {
 protected:
  Ages look(const SessionStatus& sample) {
    const Ages shown = measure_ages(&watch_, sample, current_block(sample), time_.now(), previous_);
    previous_ = PreviousScan{time_.monotonic(), time_.monotonic()};
    return shown;
  }

  FakeTime time_;
  SessionClocks watch_{};
  PreviousScan previous_{};  // none yet
};

TEST_F(ReadClocksTest, BothClocksRunWhileASessionIsIdleInATransaction) {
  const WallTime begun = time_.wall();
  time_.pass(3 * kSecond);
  const WallTime idle_since = time_.wall();
  time_.pass(2 * kSecond);

  const Ages shown = look(idle_in_transaction(begun, idle_since));
  EXPECT_EQ(shown.idle, 2 * kSecond);
  EXPECT_EQ(shown.transaction, 5 * kSecond);
}

TEST_F(ReadClocksTest, OnlyTheTransactionClockRunsWhileAStatementRuns) {
  const WallTime begun = time_.wall();
  time_.pass(5 * kSecond);
  for (const SessionState state : {SessionState::kActive, SessionState::kFastpath}) {
    SampleOf sample = active_in_transaction(begun, begun);
    sample.state = state;
    const Ages shown = look(sample);
    EXPECT_EQ(shown.idle, kNoAge);
    EXPECT_EQ(shown.transaction, 5 * kSecond);
  }
}

TEST_F(ReadClocksTest, NoClockRunsInAnIdleSession) {
  SampleOf sample;
  sample.state = SessionState::kIdle;
  sample.state_start = time_.wall();
  time_.pass(kHour);
  const Ages shown = look(sample);
  EXPECT_EQ(shown.idle, kNoAge);
  EXPECT_EQ(shown.transaction, kNoAge);
}

TEST_F(ReadClocksTest, NoClockRunsInAStateThatSaysNothing) {
  SampleOf sample = idle_in_transaction(time_.wall(), time_.wall());
  sample.state = SessionState::kUnknown;
  time_.pass(kHour);
  const Ages shown = look(sample);
  EXPECT_EQ(shown.idle, kNoAge);
  EXPECT_EQ(shown.transaction, kNoAge);
}

TEST_F(ReadClocksTest, AStatementResetsTheIdleClockButNotTheTransactionClock) {
  const WallTime begun = time_.wall();
  look(idle_in_transaction(begun, begun));
  for (int statement = 0; statement < 20; statement++) {
    time_.pass(3 * kSecond);
    look(active_in_transaction(begun, time_.wall()));
    time_.pass(kSecond);
    const Ages shown = look(idle_in_transaction(begun, time_.wall()));
    EXPECT_EQ(shown.idle, 0_us);
  }
  time_.pass(kSecond);
  const Ages shown = look(idle_in_transaction(begun, time_.wall() - kSecond));
  EXPECT_EQ(shown.idle, kSecond);
  EXPECT_EQ(shown.transaction, 20 * 4 * kSecond + kSecond);
}

TEST_F(ReadClocksTest, AStatementBetweenTwoLooksResetsTheIdleClockToo) {
  const WallTime begun = time_.wall();
  time_.pass(kMinute);
  look(idle_in_transaction(begun, begun));
  time_.pass(400 * kMillisecond);
  const WallTime idle_again = time_.wall();
  time_.pass(600 * kMillisecond);
  EXPECT_EQ(look(idle_in_transaction(begun, idle_again)).idle, 600 * kMillisecond);
}

TEST_F(ReadClocksTest, AnErrorKeepsTheTransactionClockOfItsBlockRunning) {
  const WallTime begun = time_.wall();
  time_.pass(10 * kSecond);
  EXPECT_EQ(look(idle_in_transaction(begun, begun, 3)).transaction, 10 * kSecond);

  time_.pass(kSecond);
  const WallTime failed = time_.wall();
  time_.pass(2 * kSecond);
  const Ages shown = look(plain_aborted(begun, failed, 3));
  EXPECT_EQ(shown.idle, 2 * kSecond);
  EXPECT_EQ(shown.transaction, 13 * kSecond);
}

TEST_F(ReadClocksTest, AnAbortedBlockOfUnknownStartHasAnIdleClockAlone) {
  time_.pass(kMinute);
  const Ages shown = look(plain_aborted(WallTime::none(), time_.wall() - kSecond, 3));
  EXPECT_EQ(shown.idle, kSecond);
  EXPECT_EQ(shown.transaction, kNoAge);
}

TEST_F(ReadClocksTest, TheNextTransactionStartsTheTransactionClockAnew) {
  const WallTime first = time_.wall();
  time_.pass(kHour);
  look(idle_in_transaction(first, first, 0));
  time_.pass(kSecond);
  const WallTime second = time_.wall() - 100 * kMillisecond;
  EXPECT_EQ(look(idle_in_transaction(second, second, 1)).transaction, 100 * kMillisecond);
}

// One message, one CALL, one VACUUM: the server shows the start of the statement for all of them.
TEST_F(ReadClocksTest, TransactionsOfOneMessageHaveTheirOwnAges) {
  const WallTime message = time_.wall();
  time_.pass(kHour);
  EXPECT_EQ(look(active_in_transaction(message, message, 3)).transaction, kHour);
  for (XactSeq seq = 4; seq < 10; seq++) {
    time_.pass(kSecond);
    EXPECT_EQ(look(active_in_transaction(message, message, seq)).transaction, kSecond) << seq;
    time_.pass(2 * kSecond);
    EXPECT_EQ(look(active_in_transaction(message, message, seq)).transaction, 3 * kSecond) << seq;
  }
}

TEST_F(ReadClocksTest, AnAbortedBlockIsAsOldAsItsTransactionInOneMessage) {
  const WallTime message = time_.wall();
  time_.pass(kMinute);
  look(active_in_transaction(message, message, 3));
  time_.pass(kSecond);
  EXPECT_EQ(look(active_in_transaction(message, message, 4)).transaction, kSecond);
  time_.pass(kSecond);
  EXPECT_EQ(look(plain_aborted(message, time_.wall(), 4)).transaction, 2 * kSecond);
}

TEST_F(ReadClocksTest, AScannerThatJustStartedBelievesTheServersClock) {
  const WallTime begun = time_.wall();
  time_.pass(2 * kHour);
  const Ages shown = look(idle_in_transaction(begun, begun + kHour));
  EXPECT_EQ(shown.idle, kHour);
  EXPECT_EQ(shown.transaction, 2 * kHour);
}

TEST_F(ReadClocksTest, EachClockIsBoundedByTheLookThatWouldHaveSeenItsThing) {
  const WallTime long_ago = time_.wall() - kHour;
  previous_.at_idle = time_.monotonic();
  time_.pass(kSecond);
  previous_.at_transaction = time_.monotonic();
  time_.pass(2 * kSecond);

  const Ages shown = look(idle_in_transaction(long_ago, long_ago));
  EXPECT_EQ(shown.idle, 3 * kSecond);
  EXPECT_EQ(shown.transaction, 2 * kSecond);
}

TEST_F(ReadClocksTest, ATransactionThatEarlierLooksSkippedIsAsOldAsTheServerSays) {
  const WallTime long_ago = time_.wall() - kHour;
  previous_.at_idle = time_.monotonic();
  previous_.at_transaction = MonotonicTime::none();
  time_.pass(kSecond);
  EXPECT_EQ(look(active_in_transaction(long_ago, long_ago)).transaction, kHour + kSecond);
}

TEST_F(ReadClocksTest, AClockSetByAnHourMakesNobodyOlderOrYounger) {
  for (const Micros jump : {kHour, -kHour}) {
    SCOPED_TRACE(jump);
    watch_ = SessionClocks{};
    previous_ = PreviousScan{time_.monotonic(), time_.monotonic()};
    const WallTime begun = time_.wall();
    time_.pass(kSecond);
    look(idle_in_transaction(begun, begun));
    time_.set_wall_clock_by(jump);
    time_.pass(kSecond);
    const Ages shown = look(idle_in_transaction(begun, begun));
    EXPECT_EQ(shown.idle, 2 * kSecond);
    EXPECT_EQ(shown.transaction, 2 * kSecond);
  }
}

TEST_F(ReadClocksTest, AClockSetJustBeforeTheFirstSightIsOffByAtMostOneInterval) {
  for (const Micros jump : {kHour, -kHour}) {
    SCOPED_TRACE(jump);
    watch_ = SessionClocks{};
    previous_ = PreviousScan{time_.monotonic(), time_.monotonic()};
    const WallTime begun = time_.wall();
    time_.set_wall_clock_by(jump);
    time_.pass(kSecond);
    const Ages shown = look(idle_in_transaction(begun, begun));
    for (const std::optional<Micros> age : {shown.idle, shown.transaction}) {
      EXPECT_GE(age, 0_us);
      EXPECT_LE(age, kSecond);
    }
  }
}

TEST_F(ReadClocksTest, AnotherSessionWithTheSamePidInheritsNoAge) {
  // The new session has been idle since the very same microsecond; only its start tells it apart.
  const WallTime begun = time_.wall();
  time_.pass(kHour);
  look(idle_in_transaction(begun, begun));
  time_.pass(kSecond);

  SampleOf reused = idle_in_transaction(begun, begun);
  reused.id.backend_start += kSecond;
  const Ages shown = look(reused);
  EXPECT_EQ(shown.idle, kSecond);
  EXPECT_EQ(shown.transaction, kSecond);
  EXPECT_TRUE(watch_.id == reused.id);
}

TEST_F(ReadClocksTest, AnotherSessionInTheSlotResetsEvenAClockThatDoesNotRunNow) {
  const WallTime begun = time_.wall();
  time_.pass(kHour);
  look(idle_in_transaction(begun, begun));

  SampleOf other = active_in_transaction(begun, begun);
  other.id.pid++;
  look(other);
  EXPECT_FALSE(watch_.idle.started_at.is_set());
  EXPECT_FALSE(watch_.idle.first_sight_at.is_set());
}

TEST_F(ReadClocksTest, TheSameSessionKeepsItsWatch) {
  const WallTime begun = time_.wall();
  time_.pass(kMinute);
  look(idle_in_transaction(begun, begun));
  const MonotonicTime first_sight = watch_.idle.first_sight_at;
  time_.pass(kMinute);
  look(idle_in_transaction(begun, begun));
  EXPECT_EQ(watch_.idle.first_sight_at, first_sight);
  EXPECT_TRUE(watch_.id == kSomeSession);
}

// A session that is just starting a transaction shows, for an instant, "active" and no transaction, like one
// that runs a statement in an aborted block. A transaction that it rolled back long ago does not make it a
// leak.
TEST_F(ReadClocksTest, ASessionAboutToBeginIsNotAsOldAsTheTransactionItRolledBack) {
  const WallTime begun = time_.wall();
  look(idle_in_transaction(begun, begun, 3));
  SampleOf idle = plain_aborted(begun, time_.wall(), 3);
  idle.state = SessionState::kIdle;
  for (int i = 0; i < 3600; i++) {
    time_.pass(kSecond);
    look(idle);
  }
  SampleOf about_to_begin = idle;
  about_to_begin.state = SessionState::kActive;
  about_to_begin.state_start = time_.wall();
  EXPECT_EQ(look(about_to_begin).transaction, kNoAge);
}

class DetectLeakTest : public testing::Test {
 protected:
  void set(Clock clock, LimitKind kind, Micros duration) { server_ = with(server_, clock, kind, duration); }
  Detection detect(const Ages& shown) const { return detect_leak(shown, resolve_limits(own_, server_)); }

  LimitValues own_ = nothing_set();
  LimitValues server_ = all_off();
};

TEST_F(DetectLeakTest, WithoutLimitsNothingIsALeakAndNothingIsDue) {
  const Detection found = detect(ages(kHour, kHour));
  EXPECT_FALSE(found.is_leak);
  EXPECT_EQ(found.next_due_in, kForever);
}

TEST_F(DetectLeakTest, WithoutARunningClockNothingIsALeakAndNothingIsDue) {
  for (const Clock clock : {Clock::kIdle, Clock::kTransaction}) {
    for (const LimitKind kind : {LimitKind::kLeak, LimitKind::kCancel, LimitKind::kTerminate})
      set(clock, kind, 1_us);
  }
  const Detection found = detect(Ages{});
  EXPECT_FALSE(found.is_leak);
  EXPECT_EQ(found.next_due_in, kForever);
}

TEST_F(DetectLeakTest, TheLimitItselfIsPastIt) {
  for (const Clock clock : {Clock::kIdle, Clock::kTransaction}) {
    SCOPED_TRACE(to_string(clock));
    server_ = all_off();
    set(clock, LimitKind::kLeak, kMinute);
    Ages shown{};
    std::optional<Micros>& age = clock == Clock::kIdle ? shown.idle : shown.transaction;

    age = kMinute - 1_us;
    EXPECT_FALSE(detect(shown).is_leak);
    EXPECT_EQ(detect(shown).next_due_in, 1_us);

    age = kMinute;
    EXPECT_TRUE(detect(shown).is_leak);
    EXPECT_EQ(detect(shown).clock, clock);
    EXPECT_EQ(detect(shown).age, kMinute);
    EXPECT_EQ(detect(shown).limit, kMinute);
    EXPECT_EQ(detect(shown).next_due_in, kForever);
  }
}

TEST_F(DetectLeakTest, AClockThatDoesNotRunIsNotJudgedByTheOthersLimit) {
  set(Clock::kIdle, LimitKind::kLeak, kSecond);
  const Detection found = detect(ages(kNoAge, kHour));
  EXPECT_FALSE(found.is_leak);
  EXPECT_EQ(found.next_due_in, kForever);
}

TEST_F(DetectLeakTest, AnAgeOfZeroIsMeasured) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  EXPECT_EQ(detect(ages(0_us, 0_us)).next_due_in, kMinute);
}

TEST_F(DetectLeakTest, IfBothClocksSayItTheIdleClockIsNamed) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kTransaction, LimitKind::kLeak, 2 * kMinute);
  const Detection found = detect(ages(5 * kMinute, kHour));
  EXPECT_TRUE(found.is_leak);
  EXPECT_EQ(found.clock, Clock::kIdle);
  EXPECT_EQ(found.age, 5 * kMinute);
  EXPECT_EQ(found.limit, kMinute);
}

TEST_F(DetectLeakTest, IfOnlyTheTransactionClockSaysItItIsNamedAndTheIdleClockIsStillDue) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kTransaction, LimitKind::kLeak, 2 * kMinute);
  const Detection found = detect(ages(kSecond, kHour));
  EXPECT_TRUE(found.is_leak);
  EXPECT_EQ(found.clock, Clock::kTransaction);
  EXPECT_EQ(found.age, kHour);
  EXPECT_EQ(found.limit, 2 * kMinute);
  EXPECT_EQ(found.next_due_in, kMinute - kSecond);
}

TEST_F(DetectLeakTest, TheSourceIsThatOfTheLimitThatWasMet) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  own_ = with(own_, Clock::kTransaction, LimitKind::kLeak, kMinute);
  EXPECT_EQ(detect(ages(kHour, kHour)).source, LimitSource::kServer);
  EXPECT_EQ(detect(ages(0_us, kHour)).source, LimitSource::kSession);
}

TEST_F(DetectLeakTest, ALeakLimitOfZeroSilencesTheClockWithItsActions) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kIdle, LimitKind::kCancel, 2 * kMinute);
  set(Clock::kIdle, LimitKind::kTerminate, 3 * kMinute);
  own_ = with(own_, Clock::kIdle, LimitKind::kLeak, kNever);  // SET LOCAL pgleak.idle_leak_after = 0
  for (const Micros age : {Micros{0}, kMinute, kHour}) {
    const Detection found = detect(ages(age, age));
    EXPECT_FALSE(found.is_leak);
    EXPECT_EQ(found.next_due_in, kForever);
  }
}

TEST_F(DetectLeakTest, SilencingOneClockLeavesTheOther) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kTransaction, LimitKind::kLeak, kMinute);
  own_ = with(own_, Clock::kIdle, LimitKind::kLeak, kNever);
  const Detection found = detect(ages(kHour, kHour));
  EXPECT_TRUE(found.is_leak);
  EXPECT_EQ(found.clock, Clock::kTransaction);
}

TEST_F(DetectLeakTest, AnActionAloneIsNoLeak) {
  set(Clock::kIdle, LimitKind::kCancel, kSecond);
  set(Clock::kIdle, LimitKind::kTerminate, kSecond);
  EXPECT_FALSE(detect(ages(kHour, kHour)).is_leak);
}

TEST_F(DetectLeakTest, TheNextLimitIsTheNearestOfAnyKindOnAnyClock) {
  set(Clock::kIdle, LimitKind::kLeak, 60_us);
  set(Clock::kIdle, LimitKind::kCancel, 100_us);
  set(Clock::kIdle, LimitKind::kTerminate, 200_us);
  set(Clock::kTransaction, LimitKind::kLeak, 1000_us);
  set(Clock::kTransaction, LimitKind::kTerminate, 1500_us);

  struct {
    int idle, transaction;  // in microseconds; -1: not running
    Micros next_due_in;
    bool is_leak;
  } const cases[] = {
      {10, 10, 50_us, false},    {59, 59, 1_us, false},       {60, 60, 40_us, true},  {99, 99, 1_us, true},
      {100, 100, 100_us, true},  {200, 200, 800_us, true},    {0, 990, 10_us, false}, {0, 1000, 60_us, true},
      {300, 1000, 500_us, true}, {300, 1500, kForever, true}, {50, 995, 5_us, false}, {58, 995, 2_us, false},
      {-1, 10, 990_us, false},   {50, -1, 10_us, false},
  };
  const auto age = [](int us) { return us >= 0 ? std::optional(Micros{us}) : std::nullopt; };
  for (const auto& c : cases) {
    const Detection found = detect(ages(age(c.idle), age(c.transaction)));
    EXPECT_EQ(found.next_due_in, c.next_due_in) << c.idle << " " << c.transaction;
    EXPECT_EQ(found.is_leak, c.is_leak) << c.idle << " " << c.transaction;
  }
}

TEST_F(DetectLeakTest, ActionsSetBeforeTheLeakAreNotDueBeforeIt) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kIdle, LimitKind::kCancel, kSecond);
  EXPECT_EQ(detect(ages(0_us, 0_us)).next_due_in, kMinute);
  EXPECT_EQ(detect(ages(kMinute, kMinute)).next_due_in, kForever) << "the cancel is due with the leak";
}

TEST_F(DetectLeakTest, LookingWhenItIsDueFindsTheLeak) {
  set(Clock::kIdle, LimitKind::kLeak, 2 * kSecond);
  FakeTime time;
  SessionClocks watch{};
  const SessionStatus sample = idle_in_transaction(time.wall(), time.wall());
  time.pass(300 * kMillisecond);

  const Detection early = detect(measure_ages(&watch, sample, current_block(sample), time.now(), {}));
  ASSERT_FALSE(early.is_leak);
  time.pass(early.next_due_in);
  const Detection due = detect(measure_ages(&watch, sample, current_block(sample), time.now(), {}));
  EXPECT_TRUE(due.is_leak);
  EXPECT_EQ(due.age, 2 * kSecond);
}

TEST_F(DetectLeakTest, AClockSetForwardMakesALeakOfNobody) {
  set(Clock::kIdle, LimitKind::kLeak, kMinute);
  set(Clock::kTransaction, LimitKind::kLeak, kMinute);
  FakeTime time;
  PreviousScan previous{time.monotonic(), time.monotonic()};
  SessionClocks seen{};
  SessionClocks unseen{};
  const SessionStatus sample = idle_in_transaction(time.wall(), time.wall());
  time.pass(kSecond);
  measure_ages(&seen, sample, current_block(sample), time.now(), previous);
  time.set_wall_clock_by(kHour);
  EXPECT_FALSE(detect(measure_ages(&seen, sample, current_block(sample), time.now(), previous)).is_leak);
  EXPECT_FALSE(detect(measure_ages(&unseen, sample, current_block(sample), time.now(), previous)).is_leak);
}

}  // namespace
}  // namespace pgleak
