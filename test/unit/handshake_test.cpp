// Tests of core/handshake: acting in an idle backend, with a simulated target that counts and handles
// messages as the server does, including foreign messages and nested handling.
#include "core/handshake.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr MonotonicTime kStart = monotonic_at(kSecond);
constexpr MonotonicTime kMuchLater = monotonic_at(kHour);

TEST(NextStepTest, TheFirstStepIsAMessage) {
  EXPECT_EQ(next_step(Handshake{}, Reply::kNone, false, kStart), Step::kSend);
}

TEST(NextStepTest, WithoutAReplyItWaitsThenGivesUp) {
  Handshake handshake{};
  note_sent(&handshake, kStart);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kStart), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kStart + kHandshakeTimeout), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kNone, true, kStart + kHandshakeTimeout + 1_us), Step::kGiveUp);
}

TEST(NextStepTest, AfterAProbeItWaitsUntilTheTargetSleeps) {
  Handshake handshake{};
  note_sent(&handshake, kStart);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, false, kStart), Step::kWait);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kStart), Step::kSend);
}

TEST(NextStepTest, TheTargetHasTheLastWordEvenWhenPatienceIsOver) {
  Handshake handshake{};
  note_sent(&handshake, kStart);
  EXPECT_EQ(next_step(handshake, Reply::kDone, false, kMuchLater), Step::kDone);
  EXPECT_EQ(next_step(handshake, Reply::kRefused, false, kMuchLater), Step::kRefused);
}

TEST(NextStepTest, WhileTheTargetActsNothingIsDoneHoweverLongItTakes) {
  Handshake handshake{};
  note_sent(&handshake, kStart);
  EXPECT_EQ(next_step(handshake, Reply::kActing, true, kMuchLater), Step::kWait);
}

TEST(NextStepTest, TheNumberOfMessagesIsBounded) {
  Handshake handshake{};
  int sent = 0;
  while (next_step(handshake, Reply::kProbed, true, kStart) == Step::kSend) {
    note_sent(&handshake, kStart);
    ASSERT_LE(++sent, 1000);
  }
  EXPECT_EQ(sent, kMaxMessages);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kStart), Step::kGiveUp);
}

TEST(NextStepTest, PatienceCountsFromTheFirstMessage) {
  Handshake handshake{};
  note_sent(&handshake, kStart);
  note_sent(&handshake, kStart + kHandshakeTimeout);
  EXPECT_EQ(next_step(handshake, Reply::kProbed, true, kStart + kHandshakeTimeout + 1_us), Step::kGiveUp);
}

TEST(MessageGateTest, IsOpenForTheNextMessageAfterTheProbe) {
  MessageGate gate{};
  gate.note_message(10);
  gate.note_probe(1);
  gate.note_message(11);
  EXPECT_TRUE(gate.is_open(1));
}

TEST(MessageGateTest, NeedsToKnowThatTheTargetHasSleptSinceThisVeryProbe) {
  MessageGate gate{};
  gate.note_message(10);
  gate.note_probe(1);
  gate.note_message(11);
  EXPECT_FALSE(gate.is_open(0));
  EXPECT_FALSE(gate.is_open(2));
  gate.note_probe(2);
  EXPECT_FALSE(gate.is_open(1));
  EXPECT_TRUE(gate.is_open(2));
}

TEST(MessageGateTest, IsShutBeforeAnyProbe) {
  MessageGate gate{};
  gate.note_message(1);
  EXPECT_FALSE(gate.is_open(0));
  EXPECT_FALSE(gate.is_open(1));
}

TEST(MessageGateTest, MessagesToOthersAreHarmless) {
  MessageGate gate{};
  gate.note_message(10);
  gate.note_probe(1);
  for (std::uint64_t position = 11; position < 1000; position++) gate.note_message(position);
  EXPECT_TRUE(gate.is_open(1));
}

TEST(MessageGateTest, OneForeignMessageShutsIt) {
  MessageGate gate{};
  gate.note_message(10);
  gate.note_probe(1);
  gate.note_message(12);
  EXPECT_FALSE(gate.is_open(1));
  gate.note_message(13);
  EXPECT_FALSE(gate.is_open(1));
  gate.note_probe(2);
  gate.note_message(14);
  EXPECT_TRUE(gate.is_open(2));
}

// However many changes the session itself has made, none of them makes up for a foreign message.
TEST(MessageGateTest, WhatTheServerDoesNotCountDoesNotCount) {
  for (int own_changes = 0; own_changes < 20; own_changes++) {
    MessageGate gate{};
    gate.note_message(10);
    gate.note_probe(1);
    for (int i = 0; i < own_changes; i++) gate.note_message(10);
    gate.note_message(11 + 6);
    EXPECT_FALSE(gate.is_open(1)) << own_changes;
  }
}

// The reason for the gate. The target handles a queue of messages when it wakes. Handling a foreign one, such
// as rebuilding a relation, may handle the messages after it *inside*, and may get stuck there until the
// scanner gives up. Acting there would corrupt the backend.
class Target {
 public:
  explicit Target(std::uint32_t seed) : random_(seed) {}

  void receive_foreign() { queue_.push_back(Message{false, 0, 0}); }
  void receive_ours(std::uint32_t nonce, std::uint32_t probed) {
    queue_.push_back(Message{true, nonce, probed});
    reply = Reply::kNone;
    last_nonce_ = nonce;
  }
  // A message to another backend, or a change of the target's own, which is not counted.
  void receive_alike() { queue_.push_back(Message{true, 0, 0}); }
  void change_by_itself() {
    if (!is_stuck_) gate_.note_message(counter_);
  }

  // Continues from where it is, until it sleeps again or is stuck.
  void wake() {
    if (is_stuck_ && random_() % 2 == 0) return;
    while (!queue_.empty() && !is_stuck_) handle_next(false);
    if (!is_stuck_) return;
    is_stuck_ = false;
    handle_nested();
    if (!is_stuck_) wake();
  }

  bool is_asleep() const { return !is_stuck_; }

  Reply reply = Reply::kNone;
  bool acted_inside_another = false;

 private:
  struct Message {
    bool is_ours;
    std::uint32_t nonce;
    std::uint32_t probed;
  };

  void handle_nested() {
    while (!queue_.empty()) handle_next(true);
    is_stuck_ = random_() % 4 == 0;
  }

  void handle_next(bool is_nested) {
    const Message message = queue_.front();
    queue_.erase(queue_.begin());
    counter_++;
    if (message.is_ours) {
      handle_ours(message, is_nested);
    } else if (random_() % 2 == 0) {
      handle_nested();
    }
  }

  // The rule of backend/in_place.cpp.
  void handle_ours(const Message& message, bool is_nested) {
    gate_.note_message(counter_);
    if (message.nonce == 0 || message.nonce != last_nonce_) return;
    if (gate_.is_open(message.probed)) {
      acted_inside_another = is_nested;
      reply = Reply::kDone;
    } else {
      gate_.note_probe(message.nonce);
      reply = Reply::kProbed;
    }
  }

  std::mt19937 random_;
  std::vector<Message> queue_;
  std::uint64_t counter_ = 0;
  std::uint32_t last_nonce_ = 0;
  bool is_stuck_ = false;
  MessageGate gate_{};
};

TEST(HandshakeTest, NeverActsInsideTheHandlingOfAnotherMessage) {
  int done = 0;
  int given_up = 0;
  for (std::uint32_t seed = 0; seed < 20'000; seed++) {
    std::mt19937 random(seed);
    Target target(seed);
    std::uint32_t nonce = 0;
    // After one request gives up, another follows, with the target as the first one left it.
    for (int request = 0; request < 3; request++) {
      Handshake handshake{};
      Reply reply = Reply::kNone;
      for (MonotonicTime now = kStart; reply != Reply::kDone; now += kMillisecond * 50) {
        const Step step = next_step(handshake, reply, target.is_asleep(), now);
        if (step == Step::kGiveUp) break;
        for (auto i = random() % 3; i > 0; i--) target.receive_foreign();
        for (auto i = random() % 3; i > 0; i--) target.receive_alike();
        for (auto i = random() % 3; i > 0; i--) target.change_by_itself();
        if (step == Step::kSend) {
          const std::uint32_t probed = handshake.attempts > 0 ? nonce : 0;
          note_sent(&handshake, now);
          target.receive_ours(++nonce, probed);
          for (auto i = random() % 3; i > 0; i--) target.receive_foreign();
        }
        target.wake();
        reply = target.reply;
      }
      (reply == Reply::kDone ? done : given_up)++;
      ASSERT_FALSE(target.acted_inside_another) << "seed " << seed;
    }
  }
  EXPECT_GT(done, 1000);
  EXPECT_GT(given_up, 1000);
}

TEST(HandshakeTest, InAQuietServerTwoMessagesAreEnough) {
  Target target(1);
  Handshake handshake{};
  std::uint32_t nonce = 0;
  while (next_step(handshake, target.reply, target.is_asleep(), kStart) == Step::kSend) {
    note_sent(&handshake, kStart);
    target.receive_ours(nonce + 1, nonce);
    nonce++;
    target.wake();
  }
  EXPECT_EQ(target.reply, Reply::kDone);
  EXPECT_EQ(handshake.attempts, 2);
}

}  // namespace
}  // namespace pgleak
