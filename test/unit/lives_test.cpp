// Whole lives of leaks: random sessions on a simulated machine, a scanner that decides about them, and a
// witness that knows what really happened. A life that breaks a promise is named by its seed.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "simulated_scanner.hpp"

namespace pgleak {
namespace {

constexpr int kScans = 100;

// What rules may say, by the kind of life: nothing at all, or leaks that depend on what they hurt.
const RuleSet& rules_of(bool has_rules) {
  static const std::unique_ptr<const RuleSet> none = std::make_unique<RuleSet>();
  static const std::unique_ptr<const RuleSet> some = [] {
    auto rules = std::make_unique<RuleSet>();
    for (const Impact impact : {Impact::kBlocking, Impact::kHorizon, Impact::kNone}) {
      Rule& rule = rules->rules[rules->count++];
      rule.limits = RuleLimits{rules->count, nothing_set()};
      rule.valid_until = kEndOfTime;
      rule.min_impact = impact;
    }
    LimitValues blocking = with(nothing_set(), Clock::kBlocking, LimitKind::kLeak, 3 * kSecond);
    rules->rules[0].limits.limits = with(blocking, Clock::kBlocking, LimitKind::kTerminate, 20 * kSecond);
    rules->rules[1].limits.limits = with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kSecond);
    rules->rules[2].limits.limits = with(nothing_set(), Clock::kTransaction, LimitKind::kTerminate, kMinute);
    return rules;
  }();
  return has_rules ? *some : *none;
}

SimulatedSettings random_settings(Random* random) {
  SimulatedSettings settings{};
  for (Micros& limit : settings.limits.value)
    limit = random->chance(30) ? kNever : random->duration(30 * kSecond);
  settings.min_impact = random->chance(70) ? Impact::kNone : static_cast<Impact>(random->below(4));
  settings.rules = &rules_of(random->chance(30));
  settings.rules_are_loaded = random->chance(80);
  settings.dry_run = random->chance(15);
  settings.act_on_superusers = random->chance(30);
  settings.act_on_declared = random->chance(30);
  settings.max_actions_per_minute = random->chance(50) ? 100 : random->below(4);
  settings.is_slow = random->chance(30);
  settings.changes_in_a_scan = random->chance(50);
  return settings;
}

// Somebody asks for an action, mostly on the transaction that is there. Outside of one, only a terminate is
// possible; see makes_sense() in functions/manual_action.
void ask(SimulatedScanner* life, int slot) {
  const SimulatedSession& session = life->session(slot);
  Random& random = life->machine().random;
  const Action action = random.chance(50) ? Action::kCancel : Action::kTerminate;
  if (!session.is_running()) return;
  const bool can_cancel = session.is_in_block() && session.entry.state != SessionState::kIdle;
  if (action == Action::kCancel && (!can_cancel || !session.entry.xact_start.is_set())) return;
  XactSeq xact_seq = session.current_seq();
  // By the time of the request the session may have gone on, and by the time of the next scan.
  if (xact_seq > 0 && random.chance(20)) xact_seq--;
  if (random.chance(30)) life->pass(random.duration(10 * kSecond));
  life->request(slot, action, xact_seq);
}

void happen(SimulatedScanner* life) {
  Random& random = life->machine().random;
  if (random.chance(2)) {
    life->machine().time.set_wall_clock_by(random.chance(50) ? kHour : -kHour);
    life->machine().clock_changes++;
  }
  if (random.chance(2)) life->settings.dry_run = random.chance(30);
  if (random.chance(5)) life->settings.rules_are_loaded = true;
  const int slot = random.below(kSimulatedSlots);
  if (random.chance(10)) ask(life, slot);
  if (random.chance(2)) life->withdraw(slot);
}

Micros pause_before_scan(Random* random, Micros next_due_in) {
  constexpr Micros kScanInterval = 5 * kSecond;
  if (random->chance(15)) return random->duration(20 * kSecond);
  if (next_due_in > kScanInterval) return kScanInterval;
  // Fewer polls than there are, so that lives get on.
  return next_due_in == kActionPollInterval ? random->duration(200 * kMillisecond) : next_due_in;
}

void live(SimulatedScanner* life) {
  Random& random = life->machine().random;
  life->settings = random_settings(&random);
  for (int scan = 0; scan < kScans; scan++) {
    const Micros next_due_in = life->scan();
    happen(life);
    life->sleep(pause_before_scan(&random, next_due_in));
  }
  // The server shuts down its clients; the scanner goes on until it has seen that.
  for (int slot = 0; slot < kSimulatedSlots; slot++) life->session(slot).leave();
  life->settings.changes_in_a_scan = false;
  for (int scan = 0; scan < 20; scan++) {
    life->pass(kSecond);
    life->scan();
  }
  life->witness().ended();
}

// Lives of the seeds from `from` to before `to`. Returns what they came to.
Coverage live_all(std::uint64_t from, std::uint64_t to) {
  Coverage all;
  for (std::uint64_t seed = from; seed < to; seed++) {
    SimulatedScanner life(seed);
    live(&life);
    EXPECT_EQ(life.witness().first_violation(), "") << "in the life of seed " << seed;
    if (testing::Test::HasFailure()) break;
    for (const auto& [what, count] : life.witness().coverage().count) all.count[what] += count;
  }
  return all;
}

TEST(LivesTest, TenThousandLivesKeepEveryPromise) { live_all(0, 10'000); }

// Else a promise might be kept because nothing put it to the test.
TEST(LivesTest, LivesComeToAllThatCanHappen) {
  const Coverage all = live_all(20'000, 45'000);
  for (const char* what : {
           "opens by the idle clock",
           "opens by the transaction clock",
           "opens by hand",
           "outcome: committed",
           "outcome: rolled back",
           "outcome: prepared",
           "outcome: disconnected",
           "outcome: cancelled",
           "outcome: terminated",
           "acts: cancel",
           "acts: terminate",
           "acts by hand",
           "dry run",
           "deed: cancel",
           "deed: terminate",
           "result: cancel done",
           "result: cancel skipped",
           "result: cancel not possible safely",
           "result: terminate done",
           "result: terminate skipped",
           "answer: done",
           "answer: skipped",
           "answer: not possible safely",
           "answer: waits for a synchronous standby",
           "refuses a request",
           "result: cancel no effect",
           "result: cancel no effect: waits for its client",
           "tries again after no effect",
           "signal: accepted cancel",
           "signal: accepted terminate",
           "signal: refused",
           "signal: moved on between check and signal",
           "signal: another transaction runs",
           "signal: a commit is let go",
           "signal: caught by a savepoint",
           "signal: the statement has ended before",
           "signal: withdrawn with the transaction",
           "committed after an accepted cancel",
           "held: superuser",
           "held: declared idle on purpose",
           "held: synchronous standby",
           "held: waits behind pid 99",
           "held: dry run",
           "a transaction of one message",
           "warns about rules",
           "warns about the rate",
           "an action is due",
           "opens by the blocking clock",
           "opens an idle holder by its blocking clock",
           "opens an idle holder by its idle clock",
           "opens session-level in a keepalive",
           "opens by hand outside of a transaction",
           "opens stalled in a command",
           "opens stuck in notifications",
           "session-level outcome: released",
           "session-level outcome: disconnected",
           "session-level outcome: terminated",
           "acts by the idle clock",
           "acts by the transaction clock",
           "acts by the blocking clock",
           "acts on a session-level lock",
           "acts by hand outside of a transaction",
           "terminated outside of a transaction",
           "an action of the blocking clock is due",
           "is seen waiting for its client",
       })
    EXPECT_GE(all.count_of(what), 50) << what;
}

}  // namespace
}  // namespace pgleak
