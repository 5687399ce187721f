#include "scanner/idle_times.hpp"

#include <optional>

#include "core/idle_times.hpp"
#include "pg/postgres.hpp"
#include "pg/worker.hpp"
#include "scanner/pools.hpp"
#include "shmem/idle_memory.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

struct TakenSlot {
  TakenIdle banks[SlotIdleTimes::kBankCount];
};

TakenSlot* taken = nullptr;         // by slot
std::uint32_t* versions = nullptr;  // by slot: of the status entry when the slot was last read
PoolLabel* labels = nullptr;        // by entry: of the pool that last had it

bool has_label(int pool, PoolLabel label) {
  return labels[pool] == label && pool_entry(pool).current().is_used;
}

// Mostly it is the pool of the session that the slot has now.
int find_pool(int slot, PoolLabel label) {
  const int current = sampler->tracks[slot].pool;
  if (current >= 0 && current < pool_count() && has_label(current, label)) return current;
  for (int i = 0; i < sampler->table.end(); i++)
    if (has_label(i, label)) return i;
  return other_pool();
}

void add(int pool, const IdleTimes& added) {
  pool_idle_times(pool).write([&added](PoolIdleTimes* entry) { entry->times.add(added); });
}

// A session that counts runs a statement, so its status entry changes afterwards. This spares those that are
// idle any access to their memory.
bool may_have_counted(int slot) {
  const std::uint32_t version = sampler->tracks[slot].version;
  if (version == versions[slot] && version != kNotRead) return false;
  versions[slot] = version;
  return true;
}

void collect_slot(int slot) {
  for (int i = 0; i < SlotIdleTimes::kBankCount; i++) {
    IdleTimes added{};
    const std::optional<PoolLabel> label = idle_times_of(slot)->bank(i).take(&taken[slot].banks[i], &added);
    if (!label) continue;
    add(find_pool(slot, *label), added);
    add(server_pool(), added);
  }
}

// For the share of the time in use.
void add_sample(int pool, WallTime now) {
  const PoolCounts& counts = sampler->collected[pool].sample.counts;
  const bool has_begun = pool_idle_times(pool).current().since.is_set();
  if (has_begun && counts.in_use() == 0) return;
  pool_idle_times(pool).write([&counts, now](PoolIdleTimes* entry) {
    if (!entry->since.is_set()) entry->since = now;
    entry->used += static_cast<std::uint64_t>(counts.in_use());
    entry->idle += static_cast<std::uint64_t>(counts.idle_in_transaction);
  });
}

void forget(int pool) {
  pool_idle_times(pool).write([](PoolIdleTimes* entry) { *entry = PoolIdleTimes{}; });
}

}  // namespace

void prepare_idle_times() {
  if (idle_memory == nullptr) return;
  const Size slots = static_cast<Size>(shared->slot_count);
  labels = static_cast<PoolLabel*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(pool_count()) * sizeof(PoolLabel)));
  taken = static_cast<TakenSlot*>(MemoryContextAllocZero(TopMemoryContext, slots * sizeof(TakenSlot)));
  versions =
      static_cast<std::uint32_t*>(MemoryContextAllocZero(TopMemoryContext, slots * sizeof(std::uint32_t)));
  for (int slot = 0; slot < shared->slot_count; slot++)
    for (int i = 0; i < SlotIdleTimes::kBankCount; i++)
      idle_times_of(slot)->bank(i).start_taking(&taken[slot].banks[i]);
}

void start_idle_times(int index, const PoolKey& key, bool is_new) {
  if (idle_memory == nullptr) return;
  labels[index] = pool_label(key);
  if (is_new) forget(index);
}

void collect_idle_times(const ScanContext& scan) {
  if (idle_memory == nullptr) return;
  Assert(is_scanner());
  for (int slot = 0; slot < shared->slot_count; slot++)
    if (may_have_counted(slot)) collect_slot(slot);

  // What had been counted before the request is forgotten with the rest.
  const std::uint32_t resets = idle_memory->resets.load(std::memory_order_relaxed);
  const bool is_reset = resets != idle_memory->resets_done.load(std::memory_order_relaxed);
  const auto update = [is_reset, &scan](int pool) {
    if (is_reset) forget(pool);
    if (pool_entry(pool).current().is_used) add_sample(pool, scan.now.wall);
  };
  for (int pool = 0; pool < sampler->table.end(); pool++) update(pool);
  update(other_pool());
  update(server_pool());
  idle_memory->resets_done.store(resets, std::memory_order_relaxed);
}

}  // namespace pgleak
