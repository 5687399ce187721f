// Tests of core/trail: which statements of which transaction a reader gets, and that they are whole.
#include "core/trail.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "threads.hpp"

namespace pgleak {
namespace {

constexpr XactSeq kNobody = ~XactSeq{0};

// --- the text of a statement ---

std::string text_of(const char* source, int location, int length) {
  const TextSpan span = statement_text(source, location, length);
  return std::string(span.text, static_cast<std::size_t>(span.length));
}

TEST(StatementTextTest, AStatementAloneIsAllThereIs) {
  EXPECT_EQ(text_of("SELECT 1", 0, 0), "SELECT 1");
  EXPECT_EQ(text_of("SELECT 1", -1, 0), "SELECT 1");
  EXPECT_EQ(text_of("SELECT 1", -1, 3), "SELECT 1") << "a length without a location means nothing";
  EXPECT_EQ(text_of("", 0, 0), "");
}

TEST(StatementTextTest, OneOfSeveralIsItsOwnPart) {
  const char* const source = "SELECT 1; SELECT 2 ;\n\tSELECT 3";
  EXPECT_EQ(text_of(source, 0, 8), "SELECT 1");
  EXPECT_EQ(text_of(source, 9, 10), "SELECT 2");
  EXPECT_EQ(text_of(source, 20, 0), "SELECT 3");
}

TEST(StatementTextTest, WhiteSpaceAroundItIsLeftOut) {
  EXPECT_EQ(text_of(" \t\n\r\f\vSELECT 1 \t\n\r\f\v", 0, 0), "SELECT 1");
  EXPECT_EQ(text_of("   ", 0, 0), "");
  EXPECT_EQ(text_of("   ", 0, 3), "");
}

TEST(StatementTextTest, CommentsInFrontOfTheFirstStatementBelongToIt) {
  const auto with_comment = [](const std::string& comment, const std::string& rest) {
    return text_of((comment + rest).c_str(), static_cast<int>(comment.size()), 0);
  };
  EXPECT_EQ(with_comment("/*route='/x'*/ ", "SELECT 1"), "/*route='/x'*/ SELECT 1");
  EXPECT_EQ(with_comment("  /* a /* b */ c */--d\n", "SELECT 1"), "/* a /* b */ c */--d\nSELECT 1");
  EXPECT_EQ(with_comment("/* a */; ", "SELECT 1"), "SELECT 1");
  EXPECT_EQ(with_comment("SELECT 0; /* b */ ", "SELECT 1"), "SELECT 1");
  EXPECT_EQ(with_comment("/* not closed ", "SELECT 1"), "SELECT 1");
  EXPECT_EQ(with_comment("-", "SELECT 1"), "SELECT 1");
  EXPECT_EQ(with_comment("/", "SELECT 1"), "SELECT 1");
  EXPECT_EQ(with_comment("/*/", "SELECT 1"), "SELECT 1");
}

TEST(StatementTextTest, ALongOneIsCut) {
  const std::string text(1000, 'x');
  EXPECT_EQ(text_of(text.c_str(), 0, 0), text.substr(0, kTrailTextSize));
  EXPECT_EQ(text_of(text.c_str(), 0, 999), text.substr(0, kTrailTextSize));
  EXPECT_EQ(text_of(text.c_str(), 900, 99), text.substr(0, 99));
  EXPECT_EQ(text_of((" " + text).c_str(), 0, 0).size(), static_cast<std::size_t>(kTrailTextSize));
  EXPECT_EQ(text_of(text.c_str(), 0, kTrailTextSize).size(), static_cast<std::size_t>(kTrailTextSize));
  EXPECT_EQ(text_of((std::string(127, 'x') + " y").c_str(), 0, 0), std::string(127, 'x'));
}

// --- the trail ---

class TrailTest : public testing::Test {
 protected:
  void make(int capacity) {
    memory_.assign(Trail::size_in_memory(capacity) / sizeof(std::uint64_t) + 1, 0);
    trail_ = reinterpret_cast<Trail*>(memory_.data());
    trail_->initialize(capacity);
  }

  void add(XactSeq xact_seq, const std::string& text, XactSeq kept = kNobody) {
    trail_->add(xact_seq, kept,
                TrailStatement{WallTime{static_cast<std::int64_t>(text.size())}, text.size(), Micros{0},
                               TextSpan{text.c_str(), static_cast<int>(text.size())}});
  }

  // Adds a statement of transaction 7, and tells its time and how long the session has been idle so far.
  void run(const std::string& text, std::int64_t at, std::int64_t idle_sum, std::uint64_t query_id = 1) {
    trail_->add(7, kNobody,
                TrailStatement{WallTime{at}, query_id, Micros{idle_sum},
                               TextSpan{text.c_str(), static_cast<int>(text.size())}});
  }

  std::vector<TrailEntry> entries(XactSeq xact_seq = 7) const {
    std::vector<TrailEntry> copy(kMaxTrailSize);
    copy.resize(static_cast<std::size_t>(trail_->read(xact_seq, copy.data())));
    return copy;
  }

  std::string read(XactSeq xact_seq) const {
    TrailEntry copy[kMaxTrailSize];
    const int count = trail_->read(xact_seq, copy);
    std::string all;
    for (int i = 0; i < count; i++) {
      if (i > 0) all += ' ';
      all.append(copy[i].text, copy[i].length);
      EXPECT_EQ(copy[i].at, WallTime{static_cast<std::int64_t>(copy[i].length)});
      EXPECT_EQ(copy[i].query_id, copy[i].length);
    }
    return all;
  }

  std::vector<std::uint64_t> memory_;
  Trail* trail_ = nullptr;
};

TEST_F(TrailTest, IsEmptyAtFirst) {
  make(8);
  EXPECT_EQ(read(0), "");
  EXPECT_EQ(read(7), "");
}

TEST_F(TrailTest, HoldsTheStatementsOfATransactionInTheirOrder) {
  make(8);
  add(0, "a");
  EXPECT_EQ(read(0), "a");
  add(0, "bb");
  add(0, "");
  EXPECT_EQ(read(0), "a bb ");
  EXPECT_EQ(read(1), "");
}

TEST_F(TrailTest, KeepsTheFirstTwoAndTheNewest) {
  for (int capacity : {1, 2, 3, 8, kMaxTrailSize}) {
    make(capacity);
    std::vector<std::string> all;
    for (int i = 0; i < 3 * capacity + 1; i++) {
      all.push_back(std::to_string(i));
      add(5, all.back());
      const std::size_t room = static_cast<std::size_t>(capacity);
      const std::size_t kept = room > 2 ? 2 : room - 1;
      const std::size_t omitted = all.size() < room ? 0 : all.size() - room;
      std::string expected;
      for (std::size_t k = 0; k < all.size(); k++)
        if (k < kept || k >= kept + omitted) expected += (expected.empty() ? "" : " ") + all[k];
      ASSERT_EQ(read(5), expected) << capacity;
      const std::vector<TrailEntry> copy = entries(5);
      for (std::size_t k = 0; k < copy.size(); k++)
        ASSERT_EQ(copy[k].omitted, k == kept ? omitted : 0U) << capacity << " " << k;
    }
  }
}

TEST_F(TrailTest, TheSameStatementInARowIsOneEntry) {
  make(3);
  run("BEGIN", 10, 0, 0);
  run("SELECT NULL", 20, 5);
  run("SELECT NULL", 30, 12);
  run("SELECT NULL", 40, 20);
  run("SELECT NULL", 50, 20, 2);
  run("SELECT NUL", 60, 20, 2);
  run("BEGIN", 70, 30, 0);
  run("BEGIN", 80, 31, 0);
  const std::vector<TrailEntry> copy = entries();
  ASSERT_EQ(copy.size(), 3U);
  EXPECT_EQ(copy[0].count, 1U);
  EXPECT_EQ(copy[0].last_at, WallTime{10});
  EXPECT_EQ(copy[1].count, 3U);
  EXPECT_EQ(copy[1].at, WallTime{20});
  EXPECT_EQ(copy[1].last_at, WallTime{40});
  EXPECT_EQ(copy[1].idle_before, Micros{5});
  EXPECT_EQ(copy[1].idle_within, Micros{15});
  EXPECT_EQ(copy[2].count, 2U) << "also when it is full";
  EXPECT_EQ(copy[2].omitted, 2U);
  EXPECT_EQ(copy[2].idle_before, Micros{10});
  EXPECT_EQ(copy[2].idle_within, Micros{1});
}

TEST_F(TrailTest, IdleTimeCountsFromTheStartOfTheTransaction) {
  make(8);
  run("BEGIN", 10, 1000);
  run("SELECT 1", 20, 1007);
  run("SELECT 2", 30, -1);
  run("SELECT 2", 30, -1);
  const std::vector<TrailEntry> copy = entries();
  ASSERT_EQ(copy.size(), 3U);
  EXPECT_EQ(copy[0].idle_before, Micros{0});
  EXPECT_EQ(copy[1].idle_before, Micros{7});
  EXPECT_LT(copy[2].idle_before, Micros{0}) << "not known";
  EXPECT_LT(copy[2].idle_within, Micros{0});
}

TEST_F(TrailTest, TheNextTransactionBeginsAnew) {
  make(2);
  add(0, "a");
  add(0, "b");
  add(0, "c");
  add(1, "d");
  EXPECT_EQ(read(1), "d");
  EXPECT_EQ(read(0), "");
}

TEST_F(TrailTest, WhatIsWantedIsKeptWhateverFollows) {
  make(2);
  add(3, "a", 3);
  add(3, "b", 3);
  for (XactSeq next = 4; next < 9; next++) {
    add(next, "x", 3);
    EXPECT_EQ(read(3), "a b");
    EXPECT_EQ(read(next), "x");
    EXPECT_EQ(read(next - 1), next == 4 ? "a b" : "");
  }
  // Another transaction is wanted: the first may be dropped.
  add(8, "y", 8);
  add(9, "z", 8);
  EXPECT_EQ(read(8), "x y");
  EXPECT_EQ(read(9), "z");
  EXPECT_EQ(read(3), "");
}

TEST_F(TrailTest, AFullTextFits) {
  make(8);
  const std::string text(kTrailTextSize, 'x');
  add(0, text);
  add(0, "y");
  EXPECT_EQ(read(0), text + " y");
}

// Whole: consecutive statements of one transaction but for those said to be omitted, each with the text that
// belongs to its number.
bool is_whole(const TrailEntry* copy, int count, XactSeq xact_seq) {
  std::uint64_t expected = copy[0].query_id;
  for (int i = 0; i < count; i++) {
    const std::uint64_t number = copy[i].query_id;
    expected += copy[i].omitted;
    if (number != expected++ || number / 100 != xact_seq) return false;
    if (copy[i].length != number % kTrailTextSize ||
        copy[i].at != WallTime{static_cast<std::int64_t>(number)})
      return false;
    for (int k = 0; k < copy[i].length; k++) {
      if (copy[i].text[k] != static_cast<char>('A' + number % 26)) return false;
    }
  }
  return true;
}

TEST_F(TrailTest, AReaderOfAnotherThreadNeverSeesATornTrail) {
  constexpr int kReads = 20'000;
  make(8);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> written{0};

  // A hundred statements in each transaction; every tenth transaction is kept for a while.
  std::thread writer([&] {
    char text[kTrailTextSize];
    for (std::uint64_t number = 0; !stop.load(std::memory_order_relaxed); number++) {
      const XactSeq xact_seq = number / 100;
      std::memset(text, static_cast<char>('A' + number % 26), sizeof(text));
      trail_->add(xact_seq, xact_seq / 10 * 10,
                  TrailStatement{WallTime{static_cast<std::int64_t>(number)}, number, Micros{0},
                                 TextSpan{text, static_cast<int>(number % kTrailTextSize)}});
      written.store(number, std::memory_order_release);
      dawdle(static_cast<unsigned>(number * 7 % 1000));  // a writer without pauses would starve the reader
    }
  });

  int reads = 0;
  int torn = 0;
  int kept = 0;
  for (int turn = 0; reads < kReads || kept < kReads / 10; turn++) {
    TrailEntry copy[kMaxTrailSize];
    const XactSeq current = written.load(std::memory_order_acquire) / 100;
    const XactSeq wanted = turn % 2 == 0 ? current : current / 10 * 10;
    const int count = trail_->read(wanted, copy);
    if (count == 0) {
      std::this_thread::yield();  // dropped by now, or the writer lost its processor during a write
      continue;
    }
    reads++;
    if (wanted != current) kept++;
    if (!is_whole(copy, count, wanted)) torn++;
  }
  stop.store(true, std::memory_order_relaxed);
  writer.join();

  EXPECT_EQ(torn, 0);
}

}  // namespace
}  // namespace pgleak
