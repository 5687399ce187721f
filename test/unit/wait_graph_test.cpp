// Tests of core/wait_graph: which session is to blame for which, transitively.
#include "core/wait_graph.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

// Some of the server's eight modes, with the server's conflicts among them.
enum Mode { kShareRead = 1, kRowChange = 3, kShare = 5, kExclusive = 7, kAll = 8 };

LockModes bit(Mode mode) { return LockModes{1} << mode; }

LockModes conflicting_with(Mode mode) {
  switch (mode) {
    case kShareRead:
      return bit(kAll);
    case kRowChange:
      return bit(kShare) | bit(kExclusive) | bit(kAll);
    case kShare:
      return bit(kRowChange) | bit(kExclusive) | bit(kAll);
    case kExclusive:
      return bit(kRowChange) | bit(kShare) | bit(kExclusive) | bit(kAll);
    case kAll:
      return bit(kShareRead) | bit(kRowChange) | bit(kShare) | bit(kExclusive) | bit(kAll);
  }
  return 0;
}

struct Request {
  int node;
  Mode mode;
  int since = 1000;  // on the wall clock, in microseconds; 0: unknown
};

// A graph in memory of its own.
class Graph : public WaitGraph {
 public:
  explicit Graph(int nodes = 16) : memory_(size_in_memory(nodes) / sizeof(std::int64_t) + 1) {
    attach(memory_.data(), nodes);
  }

  Graph& lock(std::initializer_list<Request> holders, std::initializer_list<Request> queue,
              bool is_guess = false) {
    begin_lock(is_guess);
    for (const Request& request : queue)
      add_waiter(request.node, request.mode, conflicting_with(request.mode), WallTime{request.since});
    for (const Request& request : holders) add_holder(request.node, bit(request.mode));
    return *this;
  }

  Graph& guess(std::initializer_list<Request> holders, std::initializer_list<Request> queue) {
    return lock(holders, queue, true);
  }

  int behind(int node) { return blocked_behind(node).sessions; }

 private:
  std::vector<std::int64_t> memory_;
};

TEST(WaitGraphTest, NobodyWaits) {
  Graph graph;
  EXPECT_TRUE(graph.is_empty());
  EXPECT_EQ(graph.behind(0), 0);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{0});
}

TEST(WaitGraphTest, OneWaits) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kExclusive, 500}});
  EXPECT_FALSE(graph.is_empty());
  EXPECT_EQ(graph.behind(0), 1);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{500});
  EXPECT_EQ(graph.behind(2), 0);
}

TEST(WaitGraphTest, OfAChainOnlyTheRootIsBlamedAndForAll) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kExclusive, 900}}).lock({{1, kExclusive}}, {{2, kExclusive, 400}});
  graph.lock({{2, kExclusive}}, {{3, kExclusive, 700}});
  EXPECT_EQ(graph.behind(0), 3);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{400})
      << "the longest waits, also if not for the root itself";
  EXPECT_EQ(graph.behind(1), 0);
  EXPECT_EQ(graph.behind(2), 0);
  EXPECT_EQ(graph.behind(3), 0);
}

TEST(WaitGraphTest, TheOrderOfTheLocksDoesNotMatter) {
  Graph graph;
  graph.lock({{2, kExclusive}}, {{3, kExclusive}}).lock({{1, kExclusive}}, {{2, kExclusive}});
  graph.lock({{0, kExclusive}}, {{1, kExclusive}});
  EXPECT_EQ(graph.behind(0), 3);
}

TEST(WaitGraphTest, OfADiamondTheLastCountsOnce) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kShare}, {2, kShare}});
  graph.lock({{1, kShareRead}, {2, kShareRead}}, {{3, kAll}});
  EXPECT_EQ(graph.behind(0), 3);
}

TEST(WaitGraphTest, WhoWaitsForTwoRootsCountsForBoth) {
  Graph graph;
  graph.lock({{0, kShareRead}, {1, kShareRead}}, {{2, kAll}, {3, kShareRead}});
  EXPECT_EQ(graph.behind(0), 2);
  EXPECT_EQ(graph.behind(1), 2);
}

TEST(WaitGraphTest, AHolderThatDoesNotConflictBlocksNobody) {
  Graph graph;
  graph.lock({{0, kShareRead}, {1, kExclusive}}, {{2, kExclusive}});
  EXPECT_EQ(graph.behind(0), 0);
  EXPECT_EQ(graph.behind(1), 1);
}

TEST(WaitGraphTest, AQueueBlocksThoseBehindWhoConflict) {
  Graph graph;
  // The reader does not conflict with 0, but with the request ahead of it.
  graph.lock({{0, kShareRead}}, {{1, kAll}, {2, kShareRead}});
  EXPECT_EQ(graph.behind(0), 2);
}

TEST(WaitGraphTest, AQueueDoesNotBlockThoseBefore) {
  Graph graph;
  // 1 waits only for 3; that 2 behind it also waits for 0 does not concern 1.
  graph.lock({{0, kShareRead}, {3, kExclusive}}, {{1, kRowChange}, {2, kAll}});
  EXPECT_EQ(graph.behind(0), 1);
  EXPECT_EQ(graph.behind(3), 2);
}

TEST(WaitGraphTest, ARequestBehindThatGetsAlongWithAllIsNotBlockedByTheQueue) {
  Graph graph;
  // It is about to be granted.
  graph.lock({{0, kShare}}, {{1, kRowChange}, {2, kShareRead}});
  EXPECT_EQ(graph.behind(0), 1);
}

TEST(WaitGraphTest, AHotRowsQueueIsAllBehindItsHolder) {
  Graph graph;
  // The first waits for the holder's transaction, and holds the row's lock that the others wait for.
  graph.lock({{0, kAll}}, {{1, kShare, 100}});
  graph.lock({{1, kAll}}, {{2, kAll, 200}, {3, kAll, 300}, {4, kAll, 400}, {5, kAll, 500}});
  EXPECT_EQ(graph.behind(0), 5);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{100});
}

TEST(WaitGraphTest, ADeadlockAboutToBeFoundBlamesNobody) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kExclusive}})
      .lock({{1, kExclusive}}, {{0, kExclusive}, {2, kExclusive}});
  EXPECT_EQ(graph.behind(0), 0);
  EXPECT_EQ(graph.behind(1), 0);
  EXPECT_EQ(graph.behind(2), 0);
}

TEST(WaitGraphTest, ADeadlockBehindARootCountsForIt) {
  Graph graph;
  graph.lock({{0, kExclusive}, {3, kShareRead}}, {{1, kExclusive}})
      .lock({{1, kExclusive}}, {{0, kExclusive}});
  graph.lock({{3, kExclusive}}, {{0, kExclusive}});
  EXPECT_EQ(graph.behind(3), 2);
}

TEST(WaitGraphTest, AParallelQueryIsOneSession) {
  Graph graph;
  // 1 leads; two of its members wait for 0, a third holds what 2 waits for.
  graph.lock({{0, kExclusive}}, {{1, kShare, 800}, {1, kShare, 600}});
  graph.lock({{1, kShareRead}, {1, kShareRead}}, {{2, kAll}});
  EXPECT_EQ(graph.behind(0), 2);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{600});
  EXPECT_EQ(graph.behind(1), 0);
}

TEST(WaitGraphTest, MembersOfAParallelQueryDoNotBlockEachOther) {
  Graph graph;
  graph.lock({{1, kExclusive}}, {{1, kExclusive}});
  EXPECT_EQ(graph.behind(1), 0);
}

TEST(WaitGraphTest, MembersOfAParallelQueryWaitInDifferentQueues) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kShare}}).lock({{2, kExclusive}}, {{1, kShare}, {3, kExclusive}});
  EXPECT_EQ(graph.behind(0), 2) << "3 stands in a queue behind the session that waits for 0";
  EXPECT_EQ(graph.behind(2), 2);
}

TEST(WaitGraphTest, APreparedTransactionIsANodeLikeOthers) {
  Graph graph;
  constexpr int kPrepared = 15;  // the last node, which has no session
  graph.lock({{kPrepared, kExclusive}, {0, kShareRead}}, {{1, kExclusive}});
  EXPECT_EQ(graph.behind(kPrepared), 1);
  EXPECT_EQ(graph.behind(0), 0);
}

TEST(WaitGraphTest, ASessionThatUpgradesItsLockDoesNotBlameItself) {
  Graph graph;
  graph.lock({{0, kShare}, {1, kShare}}, {{1, kRowChange}, {2, kRowChange}});
  EXPECT_EQ(graph.behind(0), 2);
  EXPECT_EQ(graph.behind(1), 0);
}

TEST(WaitGraphTest, AWaitWithoutATimeCountsAllTheSame) {
  Graph graph;
  graph.lock({{0, kAll}}, {{1, kAll, 0}});
  EXPECT_EQ(graph.behind(0), 1);
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{0});
  graph.clear();
  graph.lock({{0, kAll}}, {{1, kAll, 0}, {2, kAll, 300}});
  EXPECT_EQ(graph.blocked_behind(0).since, WallTime{300});
}

TEST(WaitGraphTest, ClearForgetsAll) {
  Graph graph;
  graph.lock({{0, kAll}}, {{1, kAll}});
  EXPECT_EQ(graph.behind(0), 1);
  graph.clear();
  EXPECT_TRUE(graph.is_empty());
  EXPECT_EQ(graph.behind(0), 0);
  graph.lock({{1, kAll}}, {{0, kAll}});
  EXPECT_EQ(graph.behind(0), 0);
  EXPECT_EQ(graph.behind(1), 1);
}

TEST(WaitGraphTest, WhatDoesNotFitIsLeftOutAndSaid) {
  Graph graph(2);
  for (int i = 0; i < 3; i++) graph.lock({{0, kAll}}, {{1, kAll}});
  EXPECT_FALSE(graph.is_complete());
  EXPECT_EQ(graph.behind(0), 1);

  graph.clear();
  EXPECT_TRUE(graph.is_complete());
  graph.begin_lock();
  graph.add_waiter(1, kAll, conflicting_with(kAll), WallTime{100});
  for (int i = 0; i < 100000; i++) graph.add_holder(0, bit(kShareRead));
  EXPECT_FALSE(graph.is_complete());
  EXPECT_EQ(graph.behind(0), 1);
}

TEST(WaitGraphTest, ALockThatDoesNotFitLendsItsHoldersToNoOther) {
  Graph graph(3);
  for (int i = 0; i < 3; i++) graph.lock({{0, kAll}}, {{1, kAll}});
  graph.lock({{2, kAll}}, {{1, kAll}});
  EXPECT_FALSE(graph.is_complete());
  EXPECT_EQ(graph.behind(2), 0);
}

// What nth_behind() says after blocked_behind(), as "node depth".
std::vector<std::pair<int, int>> depths_behind(Graph* graph, int root) {
  std::vector<std::pair<int, int>> result;
  const int sessions = graph->blocked_behind(root).sessions;
  for (int i = 0; i < sessions; i++) {
    const Behind behind = graph->nth_behind(i);
    result.emplace_back(behind.node, behind.depth);
  }
  return result;
}

using Depths = std::vector<std::pair<int, int>>;

TEST(WaitGraphTest, AChainHasDepths) {
  Graph graph;
  graph.lock({{0, kExclusive}}, {{1, kExclusive, 900}}).lock({{1, kExclusive}}, {{2, kShare, 400}});
  EXPECT_EQ(depths_behind(&graph, 0), (Depths{{1, 1}, {2, 2}}));
  const Behind last = graph.nth_behind(1);
  EXPECT_EQ(last.lock, 1);
  EXPECT_EQ(last.mode, kShare);
  EXPECT_EQ(last.since, WallTime{400});
}

TEST(WaitGraphTest, WhoWaitsForAHolderItselfIsNear) {
  Graph graph;
  // 3 stands behind 1 and 2, but conflicts with the holder too. The reader conflicts only with the queue.
  graph.lock({{0, kShareRead}}, {{1, kAll}, {2, kAll}, {4, kShareRead}, {3, kAll}});
  EXPECT_EQ(depths_behind(&graph, 0), (Depths{{1, 1}, {2, 1}, {3, 1}, {4, 2}}));
}

TEST(WaitGraphTest, TheNearerWayCounts) {
  Graph graph;
  graph.lock({{1, kExclusive}}, {{2, kExclusive, 100}});
  graph.lock({{0, kExclusive}}, {{1, kExclusive}, {2, kExclusive, 200}});
  EXPECT_EQ(depths_behind(&graph, 0), (Depths{{1, 1}, {2, 1}}));
  EXPECT_EQ(graph.nth_behind(1).lock, 1) << "the wait through which it is near";
}

std::vector<int> roots_of(const WaitGraph& graph) {
  std::vector<int> roots;
  for (int node = graph.next_root(0); node >= 0; node = graph.next_root(node + 1)) roots.push_back(node);
  return roots;
}

TEST(WaitGraphTest, ADeadlockHasNoRootUnlessOneIsBehindIt) {
  Graph graph;
  EXPECT_TRUE(roots_of(graph).empty());
  graph.lock({{0, kAll}}, {{1, kAll}}).lock({{1, kAll}}, {{0, kAll}});
  EXPECT_TRUE(roots_of(graph).empty());
  graph.lock({{3, kAll}}, {{0, kAll}});
  EXPECT_EQ(roots_of(graph), (std::vector<int>{3}));
  graph.clear();
  EXPECT_TRUE(roots_of(graph).empty());
}

TEST(WaitGraphTest, RootsAreListed) {
  Graph graph;
  graph.lock({{3, kShareRead}, {5, kShareRead}}, {{4, kAll}}).lock({{4, kAll}}, {{2, kAll}});
  EXPECT_EQ(graph.next_root(0), 3);
  EXPECT_EQ(graph.next_root(4), 5);
  EXPECT_EQ(graph.next_root(6), -1);
  EXPECT_TRUE(graph.waits(4));
  EXPECT_FALSE(graph.waits(3));
  EXPECT_EQ(graph.wait_of(2).lock, 1);
  EXPECT_EQ(graph.wait_of(2).depth, 0);
}

TEST(WaitGraphTest, LocksAreNumbered) {
  Graph graph(2);
  EXPECT_EQ(graph.begin_lock(), 0);
  EXPECT_EQ(graph.begin_lock(), 1);
  EXPECT_EQ(graph.begin_lock(), -1) << "there is no room for it";
  graph.clear();
  EXPECT_EQ(graph.begin_lock(), 0);
}

// The same question, answered edge by edge.
struct Edges {
  struct Lock {
    std::vector<Request> holders;
    std::vector<Request> queue;
  };
  std::vector<Lock> locks;

  std::set<int> who_wait_for(int node) const {
    std::set<int> result;
    for (const Lock& lock : locks)
      for (std::size_t i = 0; i < lock.queue.size(); i++) {
        const Request& request = lock.queue[i];
        const auto blocks = [&request, node](const Request& other) {
          return other.node == node && (conflicting_with(request.mode) & bit(other.mode)) != 0;
        };
        for (const Request& holder : lock.holders)
          if (blocks(holder)) result.insert(request.node);
        for (std::size_t before = 0; before < i; before++)
          if (blocks(lock.queue[before])) result.insert(request.node);
      }
    return result;
  }

  bool waits(int node) const {
    for (const Lock& lock : locks)
      for (const Request& request : lock.queue)
        if (request.node == node) return true;
    return false;
  }

  // In ascending order.
  std::vector<int> roots(int nodes) const {
    std::vector<int> result;
    for (int node = 0; node < nodes; node++) {
      const bool holds = std::any_of(locks.begin(), locks.end(), [node](const Lock& lock) {
        return std::any_of(lock.holders.begin(), lock.holders.end(),
                           [node](const Request& holder) { return holder.node == node; });
      });
      if (holds && !waits(node)) result.push_back(node);
      EXPECT_TRUE(holds || behind(node) == 0) << "nobody waits behind " << node;
    }
    return result;
  }

  int behind(int node) const {
    if (waits(node)) return 0;
    std::set<int> found{node};
    std::vector<int> open{node};
    while (!open.empty()) {
      const int next = open.back();
      open.pop_back();
      for (const int waiter : who_wait_for(next))
        if (found.insert(waiter).second) open.push_back(waiter);
    }
    return static_cast<int>(found.size()) - 1;
  }

  // Everyone behind a root with the length of the shortest chain.
  std::map<int, int> depths(int root) const {
    std::map<int, int> result;
    if (waits(root)) return result;
    std::set<int> level{root};
    for (int depth = 1; !level.empty(); depth++) {
      std::set<int> next;
      for (const int node : level)
        for (const int waiter : who_wait_for(node))
          if (waiter != root && result.emplace(waiter, depth).second) next.insert(waiter);
      level = next;
    }
    return result;
  }
};

TEST(WaitGraphTest, AnswersAsTheEdgesDo) {
  constexpr int kNodes = 12;
  constexpr Mode kModes[] = {kShareRead, kRowChange, kShare, kExclusive, kAll};
  std::mt19937 random(1);
  const auto below = [&random](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  Graph graph(kNodes);
  for (int round = 0; round < 20000; round++) {
    Edges edges;
    graph.clear();
    edges.locks.resize(static_cast<std::size_t>(1 + below(4)));
    for (int node = 0; node < kNodes; node++) {
      if (below(2) == 0)
        edges.locks[static_cast<std::size_t>(below(static_cast<int>(edges.locks.size())))].queue.push_back(
            Request{node, kModes[below(5)]});
      for (Edges::Lock& lock : edges.locks)
        if (below(4) == 0) lock.holders.push_back(Request{node, kModes[below(5)]});
    }
    for (Edges::Lock& lock : edges.locks) {
      std::shuffle(lock.queue.begin(), lock.queue.end(), random);
      graph.begin_lock();
      for (const Request& request : lock.queue)
        graph.add_waiter(request.node, request.mode, conflicting_with(request.mode), WallTime{request.since});
      for (const Request& request : lock.holders) graph.add_holder(request.node, bit(request.mode));
    }
    for (int node = 0; node < kNodes; node++) {
      const auto where = [round, node] {
        return "round " + std::to_string(round) + ", node " + std::to_string(node);
      };
      ASSERT_EQ(graph.behind(node), edges.behind(node)) << where();
      const Depths found = depths_behind(&graph, node);
      const std::map<int, int> expected = edges.depths(node);
      ASSERT_EQ((std::map<int, int>(found.begin(), found.end())), expected) << where();
      ASSERT_EQ(found.size(), expected.size()) << where();
      ASSERT_TRUE(std::is_sorted(found.begin(), found.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      })) << where();
      ASSERT_EQ(graph.waits(node), edges.waits(node)) << where();
    }
    ASSERT_EQ(roots_of(graph), edges.roots(kNodes)) << "round " << round;
  }
}

// --- guesses ---

TEST(WaitGraphTest, WhoIsBlamedByAGuessKeepsNobodyWaitingForCertain) {
  Graph graph;
  graph.guess({{0, kAll}, {1, kAll}}, {{2, kAll}});
  EXPECT_TRUE(graph.has_guesses());
  EXPECT_EQ(graph.behind(0), 1);
  EXPECT_TRUE(graph.blocked_behind(0).is_guess);
  EXPECT_TRUE(graph.blocked_behind(1).is_guess);
  EXPECT_FALSE(graph.blocked_behind(3).is_guess) << "nobody waits behind it";
  graph.clear();
  EXPECT_FALSE(graph.has_guesses());
}

// Replay holds a lock while it waits for a snapshot.
TEST(WaitGraphTest, WhoWaitsBehindAGuessIsThereByAGuess) {
  Graph graph;
  graph.guess({{0, kAll}}, {{1, kAll}}).lock({{1, kAll}}, {{2, kShareRead}, {3, kAll}});
  EXPECT_EQ(graph.behind(0), 3);
  EXPECT_TRUE(graph.blocked_behind(0).is_guess);
}

TEST(WaitGraphTest, OneWhoWaitsForCertainMakesTheRootCertain) {
  Graph graph;
  graph.guess({{0, kAll}}, {{1, kAll}}).lock({{0, kExclusive}}, {{2, kExclusive}});
  const Blocked blocked = graph.blocked_behind(0);
  EXPECT_EQ(blocked.sessions, 2);
  EXPECT_FALSE(blocked.is_guess);
  EXPECT_EQ(graph.nth_behind(0).node + graph.nth_behind(1).node, 3) << "both are shown";
}

TEST(WaitGraphTest, OneRootCanBeCertainAndAnotherAGuess) {
  Graph graph;
  graph.guess({{0, kAll}}, {{1, kAll}}).lock({{2, kExclusive}}, {{3, kExclusive}});
  EXPECT_TRUE(graph.blocked_behind(0).is_guess);
  EXPECT_FALSE(graph.blocked_behind(2).is_guess);
}

}  // namespace
}  // namespace pgleak
