// Owns: the tests of core/handshake: the scanner's side of reaching into an idle backend, against a simulated
// target that counts messages as the server does, with foreign messages and nested handling thrown in.
#include "core/handshake.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

TEST(NextStepTest, TheFirstStepIsAMessage) {
  EXPECT_EQ(next_step(Handshake{}, Reply::kNone, false, kSecond), Step::kSend);
}

TEST(NextStepTest, WithoutAReplyItWaitsThenGivesUp) {
  Handshake handshake{};
  note_sent(&handshake, kSecond);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kSecond), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kSecond + kHandshakePatience), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kSecond + kHandshakePatience + 1), Step::kGiveUp);
}

TEST(NextStepTest, AfterAProbeItWaitsUntilTheTargetSleeps) {
  Handshake handshake{};
  note_sent(&handshake, kSecond);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, false, kSecond), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kSecond), Step::kSend);
}

TEST(NextStepTest, TheTargetHasTheLastWordEvenWhenPatienceIsOver) {
  Handshake handshake{};
  note_sent(&handshake, kSecond);
  EXPECT_EQ(next_step(handshake, Reply::kDone, false, kHour), Step::kDone);
  EXPECT_EQ(next_step(handshake, Reply::kRefused, false, kHour), Step::kRefused);
}

TEST(NextStepTest, WhileTheTargetActsNothingIsDoneHoweverLongItTakes) {
  Handshake handshake{};
  note_sent(&handshake, kSecond);
  EXPECT_EQ(next_step(handshake, Reply::kActing, true, kHour), Step::kWait);
}

TEST(NextStepTest, TheNumberOfMessagesIsBounded) {
  Handshake handshake{};
  int sent = 0;
  while (next_step(handshake, Reply::kProbed, true, kSecond) == Step::kSend) {
    note_sent(&handshake, kSecond);
    ASSERT_LE(++sent, 1000);
  }
  EXPECT_EQ(sent, kMaxMessages);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kSecond), Step::kGiveUp);
}

TEST(NextStepTest, PatienceCountsFromTheFirstMessage) {
  Handshake handshake{};
  note_sent(&handshake, kSecond);
  note_sent(&handshake, kSecond + kHandshakePatience);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kSecond + kHandshakePatience + 1), Step::kGiveUp);
}

// What the gate is for. The target handles a queue of messages when it is woken; handling a foreign one may,
// as rebuilding a relation does, handle what follows it *inside*. Acting there would corrupt the backend.
class Target {
 public:
  explicit Target(std::uint32_t seed) : random_(seed) {}

  void receive_foreign() { queue_.push_back(false); }
  void receive_ours() { queue_.push_back(true); }

  // Wakes, handles everything, sleeps again.
  void wake() {
    while (!queue_.empty()) handle_next(false);
  }

  Reply reply = Reply::kNone;
  bool acted_inside_another = false;

 private:
  void handle_next(bool is_nested) {
    const bool is_ours = queue_.front();
    queue_.erase(queue_.begin());
    counter_++;
    if (is_ours) {
      handle_ours(is_nested);
    } else if (random_() % 2 == 0) {
      while (!queue_.empty()) handle_next(true);
    }
  }

  // The rule of server/in_place.cpp.
  void handle_ours(bool is_nested) {
    if (is_probed_ && counter_ == position_ + 1) {
      acted_inside_another = is_nested;
      reply = Reply::kDone;
    } else {
      is_probed_ = true;
      position_ = counter_;
      reply = Reply::kProbed;
    }
  }

  std::mt19937 random_;
  std::vector<bool> queue_;
  std::uint64_t counter_ = 0;
  std::uint64_t position_ = 0;
  bool is_probed_ = false;
};

TEST(HandshakeTest, NeverActsInsideTheHandlingOfAnotherMessage) {
  int done = 0;
  int given_up = 0;
  for (std::uint32_t seed = 0; seed < 20'000; seed++) {
    std::mt19937 random(seed);
    Target target(seed);
    Handshake handshake{};
    for (;;) {
      // The target is asleep whenever the scanner looks: wake() has returned.
      const Step step = next_step(handshake, target.reply, true, kSecond);
      if (step != Step::kSend) {
        (step == Step::kDone ? done : given_up)++;
        break;
      }
      note_sent(&handshake, kSecond);
      target.reply = Reply::kNone;
      for (auto i = random() % 3; i > 0; i--) target.receive_foreign();
      target.receive_ours();
      for (auto i = random() % 3; i > 0; i--) target.receive_foreign();
      target.wake();
    }
    ASSERT_FALSE(target.acted_inside_another) << "seed " << seed;
  }
  EXPECT_GT(done, 1000);
  EXPECT_GT(given_up, 0);
}

TEST(HandshakeTest, InAQuietServerTwoMessagesAreEnough) {
  Target target(1);
  Handshake handshake{};
  while (next_step(handshake, target.reply, true, kSecond) == Step::kSend) {
    note_sent(&handshake, kSecond);
    target.reply = Reply::kNone;
    target.receive_ours();
    target.wake();
  }
  EXPECT_EQ(target.reply, Reply::kDone);
  EXPECT_EQ(handshake.attempts, 2);
}

}  // namespace
}  // namespace pgleak
