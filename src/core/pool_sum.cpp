#include "core/pool_sum.hpp"

namespace pgleak {

namespace {

// One holder may keep several pools waiting.
void add_blocker(PoolSample* sum, const PoolSample& pool) {
  if (pool.blocker == nullptr) return;
  if (sum->blocker != nullptr && is_same_hold(*sum->blocker, *pool.blocker)) {
    sum->behind += pool.behind;
    return;
  }
  if (sum->blocker != nullptr && sum->behind >= pool.behind) return;
  sum->blocker = pool.blocker;
  sum->behind = pool.behind;
}

}  // namespace

void add_sample(PoolSample* sum, const PoolSample& pool) {
  sum->counts.connections += pool.counts.connections;
  sum->counts.active += pool.counts.active;
  sum->counts.idle += pool.counts.idle;
  sum->counts.idle_in_transaction += pool.counts.idle_in_transaction;
  sum->counts.leaked += pool.counts.leaked;
  sum->leaks.add(pool.leaks);
  sum->ends.add(pool.ends);
  sum->suspects.count += pool.suspects.count;
  if (pool.suspects.longest_idle > sum->suspects.longest_idle)
    sum->suspects.longest_idle = pool.suspects.longest_idle;
  sum->idle.count += pool.idle.count;
  sum->idle.total += pool.idle.total;
  sum->waiting += pool.waiting;
  add_blocker(sum, pool);
  sum->transactions += pool.transactions;
  sum->turnover += pool.turnover;
}

}  // namespace pgleak
