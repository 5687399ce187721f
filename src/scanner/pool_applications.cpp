#include "core/application_name.hpp"
#include "core/pool_sum.hpp"
#include "core/pool_table.hpp"
#include "pg/postgres.hpp"
#include "scanner/pools.hpp"

namespace pgleak {

namespace {

bool has_other_pools(const PoolKey& key, int pool) {
  const PoolTable& table = sampler->table;
  const int first = table.next_of_application(key, 0);
  return (first == pool ? table.next_of_application(key, pool + 1) : first) < table.capacity();
}

// Also the pools whose sessions came earlier are parts of the sum.
void start_sum(int sum, const PoolKey& key, const Pool& pool) {
  const PoolTable& table = sampler->table;
  SessionIdentity who = pool.who;
  who.client_address[0] = '\0';
  normalize_application_name(who.application_name);
  start_pool(sum, PoolScope::kApplication, pool.database_oid, who);
  for (int i = 0; (i = table.next_of_application(key, i)) < table.capacity(); i++)
    sampler->applications[i] = sum;
}

}  // namespace

void start_pool(int index, PoolScope scope, std::uint32_t database_oid, const SessionIdentity& who) {
  forget_application(index);
  sampler->activities[index] = PoolActivity{};
  sampler->collected[index] = Collected{};
  sampler->waits[index] = SeenWaits{};
  pool_entry(index).write([scope, database_oid, &who](Pool* pool) {
    *pool = Pool{};
    pool->is_used = true;
    pool->scope = scope;
    pool->database_oid = database_oid;
    pool->who = who;
  });
  shared->pools.end.store(sampler->table.end(), std::memory_order_release);
  shared->pools.begun.fetch_add(1, std::memory_order_release);
}

void forget_application(int index) {
  sampler->applications[index] = kNoPool;
  for (int i = 0; i < sampler->table.end(); i++)
    if (sampler->applications[i] == index) sampler->applications[i] = kNoPool;
}

void join_application(int pool) {
  PoolTable& table = sampler->table;
  const Pool& known = pool_entry(pool).current();
  const PoolKey key = make_pool_key(known.database_oid, known.who);
  const PoolKey sum_key = application_key(key);
  if (table.find(sum_key) == table.capacity() && !has_other_pools(key, pool)) return;

  bool is_new = false;
  const int sum = table.acquire(sum_key, &is_new);
  if (sum == table.capacity()) return;
  if (is_new) start_sum(sum, key, known);
  sampler->applications[pool] = sum;
}

void add_up_applications() {
  for (int i = 0; i < sampler->table.end(); i++) {
    const int sum = sampler->applications[i];
    if (sum == kNoPool) continue;
    add_sample(&sampler->collected[sum].sample, sampler->collected[i].sample);
    sampler->collected[sum].survivors += sampler->collected[i].survivors;
  }
}

}  // namespace pgleak
