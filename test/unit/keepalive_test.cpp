// Tests of core/keepalive: which statements leave the idle clock running.
#include "core/keepalive.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace pgleak {
namespace {

constexpr SessionId kSession{42, WallTime{1}};
constexpr std::int64_t kFrom = 1'000'000'000;

WallTime wall(std::int64_t seconds) { return WallTime{kFrom + seconds * kSecond.us}; }

class KeepaliveTest : public testing::Test {
 protected:
  // The session became idle in its transaction at this time, and a scan saw it then.
  void become_idle(std::int64_t seconds) {
    status_.id = kSession;
    status_.state = SessionState::kIdleInTransaction;
    status_.xact_start = wall(0);
    status_.state_start = wall(seconds);
    status_.ended_count = 7;
    look(seconds);
  }

  Micros look(std::int64_t seconds) {
    const Now now{wall(seconds), MonotonicTime{kFrom + seconds * kSecond.us}};
    return *measure_ages(&clocks_, status_, current_block(status_), now, PreviousScan{now.monotonic, {}})
                .idle;
  }

  // The session has run `text` for the `count`-th time in a row at this time, for the first time at `first`.
  Micros run(const char* text, std::uint32_t count, std::int64_t first, std::int64_t idle_before,
             std::int64_t seconds) {
    TrailEntry newest{};
    newest.at = wall(first);
    newest.last_at = wall(seconds);
    newest.count = count;
    newest.idle_before = idle_before * kSecond;
    newest.length = static_cast<std::uint16_t>(std::strlen(text));
    std::memcpy(newest.text, text, newest.length);
    status_.state_start = wall(seconds);
    if (has_run_since(clocks_, status_)) pass_over_keepalive(&clocks_, status_, newest);
    return look(seconds);
  }

  SessionStatus status_{};
  SessionClocks clocks_{};
};

TEST_F(KeepaliveTest, TheSecondOneShowsWhatTheFirstOneWas) {
  become_idle(0);
  EXPECT_EQ(run("SELECT NULL", 1, 10, 10, 10), Micros{0});
  EXPECT_EQ(run("SELECT NULL", 2, 10, 10, 20), 10 * kSecond);
  EXPECT_EQ(run("SELECT NULL", 3, 10, 10, 30), 20 * kSecond);
  EXPECT_EQ(look(35), 25 * kSecond);
}

TEST_F(KeepaliveTest, ManyBetweenTwoScansDoNotHideTheTimeBeforeThem) {
  become_idle(0);
  EXPECT_EQ(run("SELECT 1", 5, 10, 10, 50), 50 * kSecond);
}

TEST_F(KeepaliveTest, WorkBeforeTheFirstOneRestartsTheClock) {
  become_idle(0);
  EXPECT_EQ(run("SELECT 1", 5, 10, 3, 50), Micros{0}) << "something ended 3 s before the first one";
}

TEST_F(KeepaliveTest, AStatementThatReadsSomethingIsWork) {
  become_idle(0);
  EXPECT_EQ(run("SELECT count(*) FROM t", 5, 10, 10, 50), Micros{0});
  EXPECT_EQ(run("FETCH 10 FROM c", 9, 60, 10, 70), Micros{0});
}

TEST_F(KeepaliveTest, ATextThatWasCutMayBeAnything) {
  become_idle(0);
  const std::string text = "SELECT " + std::string(kTrailTextSize - 7, '1');
  EXPECT_EQ(run(text.c_str(), 5, 10, 10, 50), Micros{0});
}

TEST_F(KeepaliveTest, AnotherTransactionHasAClockOfItsOwn) {
  become_idle(0);
  status_.ended_count = 8;
  EXPECT_EQ(run("SELECT 1", 2, 10, 10, 20), Micros{0});
}

TEST_F(KeepaliveTest, WithoutIdleTimesNothingIsKnown) {
  become_idle(0);
  EXPECT_EQ(run("SELECT 1", 5, 10, -1, 50), Micros{0});
}

}  // namespace
}  // namespace pgleak
