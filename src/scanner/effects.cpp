#include "scanner/effects.hpp"

#include "core/effects.hpp"
#include "core/horizon.hpp"
#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/horizon_holder.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_proc.hpp"
#include "pg/proc_array.hpp"
#include "pg/replication_slot.hpp"
#include "scanner/tracked_session.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/transam.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr Micros kSampleInterval = kSecond;

constexpr int kSlotNumber = -1;  // HorizonHolder::number of all replication slots; else it is a proc_index

// What one pass has read. Allocated once.
struct Reading {
  XidHolder* processes;
  SlotStatus* slots;
  SlotPosition* positions;  // of the logical ones
  HorizonHolder* holders;
  int* holder_of;  // by proc_index: place in `holders`; -1: it holds nothing
  int position_count;
  int holder_count;
  std::uint32_t next_xid;
  std::uint32_t oldest_xid;  // of the transactions in progress; 0: none
  std::uint64_t end_of_wal;  // 0: on a standby
};

Reading reading{};

template <typename Element>
Element* allocate_array(int count) {
  return static_cast<Element*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(Max(count, 1)) * sizeof(Element)));
}

void add_holder(HorizonHolder holder, int number) {
  holder.number = number;
  reading.holders[reading.holder_count++] = holder;
}

void read_slots() {
  const int count = read_replication_slots(reading.slots);
  reading.position_count = 0;
  for (int i = 0; i < count; i++) {
    const SlotStatus& slot = reading.slots[i];
    add_holder(horizon_holder(slot), kSlotNumber);
    if (slot.is_logical)
      reading.positions[reading.position_count++] =
          SlotPosition{slot.name, slot.restart_lsn, slot.confirmed_flush_lsn};
  }
}

void read_processes() {
  const int count = read_xid_holders(reading.processes, nullptr, 0);
  for (int i = 0; i < count; i++)
    add_holder(horizon_holder(reading.processes[i], HorizonKind::kSession), reading.processes[i].proc_index);
  for (int place = 0; place < prepared_place_count(); place++) {
    const TransactionId xid = prepared_xid(place);
    if (xid == InvalidTransactionId) continue;
    const int proc_index = prepared_proc_index(place);
    add_holder(horizon_holder_of_prepared(ProcGlobal->allProcs[proc_index].databaseId, xid), proc_index);
  }
}

// Ids are read after all that hold them, so none is newer than the next one.
void read_all() {
  reading.holder_count = 0;
  read_slots();
  read_processes();
  reading.next_xid = compat::next_transaction_id();
  reading.end_of_wal = RecoveryInProgress() ? 0 : end_of_wal();
  find_oldest(reading.holders, reading.holder_count, reading.next_xid,
              HorizonScope{RecoveryInProgress(), sends_feedback()});
  for (int i = 0; i < compat::proc_count(); i++) reading.holder_of[i] = -1;
  reading.oldest_xid = 0;
  for (int i = 0; i < reading.holder_count; i++) {
    const HorizonHolder& holder = reading.holders[i];
    if (holder.number != kSlotNumber) reading.holder_of[holder.number] = i;
    if (holder.xid != 0 && (reading.oldest_xid == 0 || TransactionIdPrecedes(holder.xid, reading.oldest_xid)))
      reading.oldest_xid = holder.xid;
  }
}

EffectSample sample_of(int proc_index, MonotonicTime now) {
  EffectSample sample{};
  sample.at = now;
  sample.end_of_wal = reading.end_of_wal;
  sample.has_subxact_overflow = has_subxact_overflow(proc_index);
  const int place = reading.holder_of[proc_index];
  if (place < 0) return sample;
  const HorizonHolder& holder = reading.holders[place];
  sample.xid = holder.xid;
  sample.oldest_id = reading.next_xid - static_cast<std::uint32_t>(holder.age);
  sample.is_oldest = holder.is_oldest;
  sample.is_oldest_xid = holder.xid != 0 && holder.xid == reading.oldest_xid;
  return sample;
}

void take_sample(LeakEffects* effects, const EffectSample& sample) {
  observe_effects(effects, sample, reading.positions, reading.position_count);
}

// An active transaction may be over and the next one begun since the scan; then the sample is not the leak's.
bool is_still_open(TrackedSession session, int* proc_index) {
  const Episode& episode = *session.open_episode();
  BackendOwner owner;
  StatusEntry entry{};
  if (!session.backend().read_owner(episode.session, &owner)) return false;
  if (read_status(session.index(), &entry) != StatusRead::kDone || entry.id != episode.session) return false;
  *proc_index = owner.proc_index;
  return episode.is_session_level || entry.state == SessionState::kIdleInTransactionAborted ||
         session.backend().watched_end() == TransactionEnd::kNone;
}

std::optional<float> queue_usage() {
  const float usage = shared->notify_queue_usage.load(std::memory_order_relaxed);
  return usage == kUnknownUsage ? std::nullopt : std::optional(usage);
}

void sample_sessions(MonotonicTime now) {
  bool is_any_listening = false;
  for (int i = 0; i < shared->slot_count; i++) {
    int proc_index = 0;
    if (!open_episodes()[i] || !is_still_open(TrackedSession(i), &proc_index)) continue;
    const TrackedSession session(i);
    EffectSample sample = sample_of(proc_index, now);
    if (session.backend().listens()) {
      is_any_listening = true;
      sample.notify_queue_usage = queue_usage();
    }
    session.update(
        [&sample](SessionRecord* record) { take_sample(&record->episode.progress.effects, sample); });
  }
  shared->wants_queue_usage.store(is_any_listening, std::memory_order_relaxed);
}

void sample_prepared(MonotonicTime now) {
  for (int place = 0; place < prepared_place_count(); place++) {
    PreparedSlot& slot = prepared_slot(place);
    const PreparedRecord& record = slot.scanner.current();
    if (!record.is_open) continue;
    const EffectSample sample = sample_of(prepared_proc_index(place), now);
    if (sample.xid != record.episode.progress.worst.xid) continue;
    slot.scanner.write(
        [&sample](PreparedRecord* changed) { take_sample(&changed->episode.progress.effects, sample); });
  }
}

}  // namespace

void prepare_effects() {
  const int proc_count = compat::proc_count();
  const int slot_count = slot_capacity();
  reading.processes = allocate_array<XidHolder>(proc_count);
  reading.slots = allocate_array<SlotStatus>(slot_count);
  reading.positions = allocate_array<SlotPosition>(slot_count);
  reading.holders = allocate_array<HorizonHolder>(proc_count + slot_count);
  reading.holder_of = allocate_array<int>(proc_count);
}

void sample_effects(MonotonicTime now) {
  static MonotonicTime sampled_at{};
  if (shared->open_leaks.load(std::memory_order_relaxed) == 0) {
    shared->wants_queue_usage.store(false, std::memory_order_relaxed);
    return;
  }
  if (sampled_at.is_set() && now - sampled_at < kSampleInterval) return;
  sampled_at = now;
  read_all();
  sample_sessions(now);
  sample_prepared(now);
}

}  // namespace pgleak
