#include "shmem/idle_memory.hpp"

#include <new>

#include "pg/compat.hpp"
#include "pg/settings.hpp"
#include "shmem/pool_memory.hpp"

extern "C" {
#include "storage/shmem.h"
}

namespace pgleak {

IdleMemory* idle_memory = nullptr;

namespace {

SeqLock<PoolIdleTimes>* pools = nullptr;
SlotIdleTimes* slots = nullptr;

Size pools_size() { return mul_size(static_cast<Size>(pool_entry_count()), sizeof(SeqLock<PoolIdleTimes>)); }

}  // namespace

Size idle_memory_size() {
  if (!settings.track_idle_times) return 0;
  return add_size(add_size(sizeof(IdleMemory), pools_size()),
                  mul_size(static_cast<Size>(compat::status_slot_count()), sizeof(SlotIdleTimes)));
}

void create_idle_memory() {
  bool found = false;
  if (!settings.track_idle_times) return;
  char* const memory = static_cast<char*>(ShmemInitStruct("pgleak idle times", idle_memory_size(), &found));
  idle_memory = reinterpret_cast<IdleMemory*>(memory);
  pools = reinterpret_cast<SeqLock<PoolIdleTimes>*>(memory + sizeof(IdleMemory));
  slots = reinterpret_cast<SlotIdleTimes*>(memory + sizeof(IdleMemory) + pools_size());
  if (found) return;
  new (idle_memory) IdleMemory();  // all zero
  for (int i = 0; i < pool_entry_count(); i++) new (&pools[i]) SeqLock<PoolIdleTimes>();
  for (int i = 0; i < compat::status_slot_count(); i++) new (&slots[i]) SlotIdleTimes();
}

SeqLock<PoolIdleTimes>& pool_idle_times(int index) {
  Assert(pools != nullptr && index >= 0 && index < pool_entry_count());
  return pools[index];
}

SlotIdleTimes* idle_times_of(int index) {
  if (slots == nullptr) return nullptr;
  Assert(index >= 0 && index < compat::status_slot_count());
  return &slots[index];
}

}  // namespace pgleak
