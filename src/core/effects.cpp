#include "core/effects.hpp"

#include "core/text.hpp"

namespace pgleak {

namespace {

// Between two samples that saw it as the oldest nothing older can have come and gone: ids are handed out in
// ascending order. That holds while it keeps its xid or the same snapshot.
bool has_stayed_oldest(const LeakEffects& before, const EffectSample& sample) {
  if (!before.was_oldest || !sample.is_oldest) return false;
  return before.oldest_id == sample.oldest_id || (sample.xid != 0 && before.xid == sample.xid);
}

void note_retained(LeakEffects* effects, const SlotPosition& slot) {
  const bool is_passed = slot.confirmed > effects->xid_seen_at;
  const bool is_kept = slot.restart != 0 && slot.restart <= effects->xid_seen_at;
  if (!is_passed || !is_kept) return;
  const std::uint64_t retained = slot.confirmed - slot.restart;
  if (retained <= effects->retained_bytes) return;
  effects->retained_bytes = retained;
  TextBuffer name(effects->slot_name, sizeof(effects->slot_name));
  name.append(slot.name);
}

}  // namespace

void observe_effects(LeakEffects* effects, const EffectSample& sample, const SlotPosition* slots, int count) {
  if (has_stayed_oldest(*effects, sample)) effects->oldest_for += sample.at - effects->sampled_at;
  if (sample.xid == 0 || sample.xid != effects->xid) effects->xid_seen_at = sample.end_of_wal;
  effects->was_oldest = sample.is_oldest;
  effects->xid = sample.xid;
  effects->oldest_id = sample.oldest_id;
  effects->sampled_at = sample.at;
  if (sample.xid != 0 && sample.is_oldest_xid && effects->xid_seen_at != 0)
    for (int i = 0; i < count; i++) note_retained(effects, slots[i]);
  effects->has_subxact_overflow |= sample.has_subxact_overflow;
  if (!sample.notify_queue_usage) return;
  if (!effects->has_queue_usage || *sample.notify_queue_usage > effects->notify_queue_usage)
    effects->notify_queue_usage = *sample.notify_queue_usage;
  effects->has_queue_usage = true;
}

}  // namespace pgleak
