// Tests of shmem/backend_slot, which needs no server: readers see what a backend publishes, and the end of a
// watched transaction is never lost.
#include "shmem/backend_slot.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>

#include "core/episode.hpp"
#include "samples.hpp"
#include "threads.hpp"

namespace pgleak {
namespace {

constexpr std::optional<Impact> kServersMinImpact;  // the session has no value of its own

static_assert(std::atomic<TransactionEnd>::is_always_lock_free, "processes share it");
static_assert(std::atomic<Micros>::is_always_lock_free, "processes share it");

constexpr WallTime kBegun = wall_at(1000 * kSecond);

constexpr TransactionEnd kRealEnds[] = {
    TransactionEnd::kCommitted,
    TransactionEnd::kRolledBack,
    TransactionEnd::kPrepared,
    TransactionEnd::kDisconnected,
};

BackendOwner owner_with(SessionId session) {
  BackendOwner owner{};
  owner.session = session;
  owner.proc_index = 17;
  owner.encoding = 6;
  std::strcpy(owner.database, "shop");
  std::strcpy(owner.role, "api");
  return owner;
}

void end_transactions(BackendSlot* slot, int count, TransactionEnd how) {
  for (int i = 0; i < count; i++) slot->publish_end(how, kBegun);
}

TEST(BackendSlotTest, AFreshSlotBelongsToNobodyAndReportsNothing) {
  BackendSlot slot{};
  BackendOwner owner;
  EXPECT_FALSE(slot.read_owner(kSomeSession, &owner));
  EXPECT_EQ(slot.report().ended_count, 0U);
  EXPECT_EQ(slot.report().last_end, TransactionEnd::kNone);
  EXPECT_FALSE(slot.report().last_end_start.is_set());
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kNone);
}

TEST(BackendSlotTest, TheOwnerIsFoundByItsSessionAlone) {
  BackendSlot slot{};
  slot.claim(owner_with(kSomeSession), nothing_set(), kServersMinImpact);

  BackendOwner owner{};
  ASSERT_TRUE(slot.read_owner(kSomeSession, &owner));
  EXPECT_TRUE(owner.session == kSomeSession);
  EXPECT_EQ(owner.proc_index, 17);
  EXPECT_EQ(owner.encoding, 6);
  EXPECT_STREQ(owner.database, "shop");
  EXPECT_STREQ(owner.role, "api");

  EXPECT_FALSE(slot.read_owner(SessionId{kSomeSession.pid, kSomeSession.backend_start + 1_us}, &owner))
      << "the same pid, used again";
  EXPECT_FALSE(slot.read_owner(SessionId{kSomeSession.pid + 1, kSomeSession.backend_start}, &owner));
}

TEST(BackendSlotTest, ANewOwnerReplacesTheOldOneWithItsLimits) {
  BackendSlot slot{};
  slot.claim(owner_with(kSomeSession), with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kMinute),
             kServersMinImpact);
  const SessionId next{kSomeSession.pid, kSomeSession.backend_start + kHour};
  slot.claim(owner_with(next), with(nothing_set(), Clock::kTransaction, LimitKind::kLeak, kHour),
             kServersMinImpact);

  BackendOwner owner;
  EXPECT_FALSE(slot.read_owner(kSomeSession, &owner));
  EXPECT_TRUE(slot.read_owner(next, &owner));
  EXPECT_EQ(slot.own_limits().value[limit_index(Clock::kIdle, LimitKind::kLeak)], kNotSet);
  EXPECT_EQ(slot.own_limits().value[limit_index(Clock::kTransaction, LimitKind::kLeak)], kHour);
}

TEST(BackendSlotTest, EveryLimitIsPublishedInItsPlace) {
  BackendSlot slot{};
  LimitValues own;
  for (int i = 0; i < kLimitCount; i++) own.value[i] = i * kSecond - 1_us;  // including kNotSet
  slot.publish_limits(own, kServersMinImpact);
  const LimitValues read = slot.own_limits();
  for (int i = 0; i < kLimitCount; i++) EXPECT_EQ(read.value[i], own.value[i]) << i;

  slot.publish_limits(nothing_set(), kServersMinImpact);
  for (const Micros value : slot.own_limits().value) EXPECT_EQ(value, kNotSet);
}

TEST(BackendSlotTest, EveryEndCountsAndSaysHow) {
  BackendSlot slot{};
  XactSeq count = 0;
  for (int round = 0; round < 3; round++) {
    for (const TransactionEnd how : kRealEnds) {
      slot.publish_end(how, kBegun);
      EXPECT_EQ(slot.report().ended_count, ++count);
      EXPECT_EQ(slot.report().last_end, how);
    }
  }
}

TEST(BackendSlotTest, ARollbackLeavesTheStartOfItsTransactionBehind) {
  BackendSlot slot{};
  for (const WallTime begun : {kBegun, kBegun + kMinute, kBegun + kSecond}) {
    slot.publish_end(TransactionEnd::kRolledBack, begun);
    EXPECT_EQ(slot.report().last_end_start, begun);
  }
}

TEST(BackendSlotTest, TheXactSeqGoesOnAcrossOwners) {
  BackendSlot slot{};
  XactSeq count = 0;
  for (int owner = 0; owner < 4; owner++) {
    slot.claim(owner_with(SessionId{owner + 1, kBegun}), nothing_set(), kServersMinImpact);
    EXPECT_EQ(slot.report().ended_count, count) << "a new owner starts where the last one stopped";
    end_transactions(&slot, 3, TransactionEnd::kCommitted);
    count += 3;
    EXPECT_EQ(slot.report().ended_count, count);
  }
}

// A report belongs to one session: a rollback by the slot's previous owner says nothing about this one.
TEST(BackendSlotTest, ANewOwnerDoesNotInheritHowTheLastOneEnded) {
  BackendSlot slot{};
  slot.claim(owner_with(SessionId{1, kBegun}), nothing_set(), kServersMinImpact);
  slot.publish_end(TransactionEnd::kRolledBack, kBegun);
  slot.claim(owner_with(SessionId{2, kBegun + kHour}), nothing_set(), kServersMinImpact);
  EXPECT_EQ(slot.report().ended_count, 1U);
  EXPECT_EQ(slot.report().last_end, TransactionEnd::kNone);
}

TEST(WatchTest, NothingHasEndedWhenTheWatchBegins) {
  BackendSlot slot{};
  end_transactions(&slot, 5, TransactionEnd::kRolledBack);
  EXPECT_TRUE(slot.watch(5));
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kNone);
}

TEST(WatchTest, TheEndAfterTheWatchIsRemembered) {
  for (const TransactionEnd how : kRealEnds) {
    BackendSlot slot{};
    end_transactions(&slot, 5, TransactionEnd::kCommitted);
    EXPECT_TRUE(slot.watch(5));
    slot.publish_end(how, kBegun);
    EXPECT_EQ(slot.watched_end(), how);
  }
}

TEST(WatchTest, TheEndJustBeforeTheWatchIsRemembered) {
  for (const TransactionEnd how : kRealEnds) {
    BackendSlot slot{};
    end_transactions(&slot, 5, TransactionEnd::kCommitted);
    slot.publish_end(how, kBegun);  // seen running, over before watch()
    EXPECT_TRUE(slot.watch(5));
    EXPECT_EQ(slot.watched_end(), how);
  }
}

TEST(WatchTest, ManyTransactionsLaterTheEndIsStillThere) {
  for (const TransactionEnd how : kRealEnds) {
    for (const bool ends_before_watch : {false, true}) {
      BackendSlot slot{};
      end_transactions(&slot, 5, TransactionEnd::kCommitted);
      if (ends_before_watch) slot.publish_end(how, kBegun);
      EXPECT_TRUE(slot.watch(5));
      if (!ends_before_watch) slot.publish_end(how, kBegun);
      for (int i = 0; i < 1000; i++) slot.publish_end(kRealEnds[i % 4], kBegun);
      EXPECT_EQ(slot.watched_end(), how);
    }
  }
}

TEST(WatchTest, TheEndOfAnEarlierTransactionIsNotTakenForTheWatchedOnes) {
  BackendSlot slot{};
  EXPECT_TRUE(slot.watch(2));
  end_transactions(&slot, 2, TransactionEnd::kCommitted);
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kNone);
  slot.publish_end(TransactionEnd::kPrepared, kBegun);
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kPrepared);
}

TEST(WatchTest, TheNextWatchForgetsTheEndBefore) {
  BackendSlot slot{};
  EXPECT_TRUE(slot.watch(0));
  slot.publish_end(TransactionEnd::kCommitted, kBegun);
  EXPECT_TRUE(slot.watch(1));
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kNone);
  slot.publish_end(TransactionEnd::kRolledBack, kBegun);
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kRolledBack);
}

TEST(WatchTest, TheVeryFirstTransactionOfASlotCanBeWatched) {
  BackendSlot slot{};
  EXPECT_TRUE(slot.watch(0));
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kNone);
  slot.publish_end(TransactionEnd::kCommitted, kBegun);
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kCommitted);
}

TEST(WatchTest, AnAbortedBlockIsWatchedByTheTransactionThatIsOver) {
  BackendSlot slot{};
  end_transactions(&slot, 5, TransactionEnd::kCommitted);
  slot.publish_end(TransactionEnd::kRolledBack, kBegun);
  const TransactionReport report = slot.report();
  SampleOf sample = plain_aborted(kBegun, kBegun + kSecond, 0);
  sample.ended_count = report.ended_count;
  sample.last_end = report.last_end;
  sample.last_end_start = report.last_end_start;

  const TransactionBlock block = current_block(sample);
  EXPECT_TRUE(slot.watch(block.xact_seq));
  EXPECT_EQ(slot.watched_end(), TransactionEnd::kRolledBack);
  Episode episode{};
  episode.xact_seq = block.xact_seq;
  EXPECT_EQ(judge_open(episode, BackendTrace{true, sample.state, sample, false}, slot.watched_end()),
            Outcome::kNone);

  // ROLLBACK of the aborted block publishes nothing more, because the transaction was already over.
  sample.state = SessionState::kIdle;
  EXPECT_EQ(judge_open(episode, BackendTrace{true, sample.state, sample, false}, slot.watched_end()),
            Outcome::kRolledBack);
}

// Between the scanner's read and its watch(), the client may complete more than one transaction. An episode
// opened then would stay open as long as the session lives.
TEST(WatchTest, SaysWhenItCannotKnowTheEndAnyMore) {
  for (int ended_meanwhile = 0; ended_meanwhile <= 4; ended_meanwhile++) {
    BackendSlot slot{};
    end_transactions(&slot, 5, TransactionEnd::kCommitted);
    const XactSeq seen_running = slot.report().ended_count;
    end_transactions(&slot, ended_meanwhile, TransactionEnd::kCommitted);

    EXPECT_EQ(slot.watch(seen_running), ended_meanwhile <= 1) << ended_meanwhile;
    EXPECT_EQ(slot.watched_end(), ended_meanwhile == 1 ? TransactionEnd::kCommitted : TransactionEnd::kNone)
        << "the end of another transaction is not taken for that of the watched one";
  }
}

TEST(WatchTest, ARaceOfWatchAndEndNeverLosesTheEnd) {
  constexpr std::uint64_t kRounds = 300'000;
  BackendSlot slot{};
  std::atomic<std::uint64_t> scanner_at{0};  // round that the scanner has started
  std::atomic<std::uint64_t> backend_at{0};  // round in which the backend has published the watched end

  const auto end_of_round = [](std::uint64_t round) { return kRealEnds[round % 4]; };

  std::thread backend([&] {
    for (std::uint64_t round = 1; round <= kRounds; round++) {
      spin_until([&] { return scanner_at.load(std::memory_order_acquire) == round; });
      dawdle(static_cast<unsigned>(round % 97));
      slot.publish_end(end_of_round(round), kBegun);
      backend_at.store(round, std::memory_order_release);
    }
  });

  std::uint64_t lost = 0;
  std::uint64_t wrong = 0;
  std::uint64_t refused = 0;
  for (std::uint64_t round = 1; round <= kRounds; round++) {
    scanner_at.store(round, std::memory_order_release);
    dawdle(static_cast<unsigned>(round % 89));
    if (!slot.watch(round - 1)) refused++;
    spin_until([&] { return backend_at.load(std::memory_order_acquire) == round; });
    const TransactionEnd end = slot.watched_end();
    if (end == TransactionEnd::kNone) {
      lost++;
    } else if (end != end_of_round(round)) {
      wrong++;
    }
  }
  backend.join();

  EXPECT_EQ(lost, 0U);
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(refused, 0U);
  EXPECT_EQ(slot.report().ended_count, kRounds);
}

TEST(WatchTest, AReaderOfAnotherThreadSeesCountAndEndTogether) {
  constexpr XactSeq kEnds = 1'000'000;
  BackendSlot slot{};
  // Even transactions commit, odd ones are prepared, so the count says which end belongs to a transaction.
  std::thread backend([&] {
    for (XactSeq n = 0; n < kEnds; n++)
      slot.publish_end(n % 2 == 0 ? TransactionEnd::kCommitted : TransactionEnd::kPrepared, kBegun);
  });

  std::uint64_t wrong = 0;
  XactSeq last = 0;
  while (last < kEnds) {
    const TransactionReport report = slot.report();
    if (report.ended_count < last) wrong++;
    last = report.ended_count;
    if (last == 0) continue;
    const TransactionEnd expected = last % 2 == 1 ? TransactionEnd::kCommitted : TransactionEnd::kPrepared;
    if (report.last_end != expected) wrong++;
  }
  backend.join();
  EXPECT_EQ(wrong, 0U);
}

}  // namespace
}  // namespace pgleak
