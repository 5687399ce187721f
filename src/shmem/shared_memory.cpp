#include "shmem/shared_memory.hpp"

#include <new>

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "shmem/idle_memory.hpp"

extern "C" {
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace pgleak {

SharedState* shared = nullptr;
SessionSlot* session_slots = nullptr;
EventQueue* event_queue = nullptr;
SharedRules* shared_rules = nullptr;

namespace {

char* trails = nullptr;

constexpr char kTrancheName[] = "pgleak";

shmem_request_hook_type previous_shmem_request_hook = nullptr;
shmem_startup_hook_type previous_shmem_startup_hook = nullptr;

Size slots_size() { return mul_size(static_cast<Size>(compat::status_slot_count()), sizeof(SessionSlot)); }

Size trail_stride() { return CACHELINEALIGN(Trail::size_in_memory(settings.trail_size)); }

Size trails_size() {
  if (settings.trail_size == 0) return 0;
  return mul_size(static_cast<Size>(compat::status_slot_count()), trail_stride());
}

Size queue_size() {
  return EventQueue::size_in_memory(settings.queue_size, pgstat_track_activity_query_size,
                                    settings.trail_size);
}

void request_shared_memory() {
  if (previous_shmem_request_hook != nullptr) previous_shmem_request_hook();
  RequestAddinShmemSpace(
      add_size(add_size(sizeof(SharedState), slots_size()), add_size(trails_size(), queue_size())));
  RequestAddinShmemSpace(sizeof(SharedRules));
  RequestAddinShmemSpace(prepared_memory_size());
  RequestAddinShmemSpace(idle_memory_size());
  RequestAddinShmemSpace(pool_memory_size());
  RequestNamedLWLockTranche(kTrancheName, 2);
}

void initialize_state() {
  new (shared) SharedState();  // all zero
  shared->slot_count = compat::status_slot_count();
  shared->started_at = wall_now();
  shared->error_lock = &GetNamedLWLockTranche(kTrancheName)[0].lock;
  shared->manual_lock = &GetNamedLWLockTranche(kTrancheName)[1].lock;
  shared->scanner_proc = kNoProcess;
  shared->recorder_proc = kNoProcess;
  // Leak ids count up from the start time in units of 100 us since 2000. So they ascend over time, and exceed
  // all ids of earlier runs and of a standby that started earlier, unless one of those found ten thousand
  // leaks per second.
  shared->last_leak_id = shared->started_at.us / 100;
  shared->last_nonce = static_cast<std::uint32_t>(shared->started_at.us);
  ConditionVariableInit(&shared->scan_served);
  ConditionVariableInit(&shared->manual_answered);
}

void create_trails() {
  bool found = false;
  if (settings.trail_size == 0) return;
  trails = static_cast<char*>(ShmemInitStruct("pgleak trails", trails_size(), &found));
  if (found) return;
  memset(trails, 0, trails_size());
  for (int i = 0; i < compat::status_slot_count(); i++) trail_of(i)->initialize(settings.trail_size);
}

void start_shared_memory() {
  if (previous_shmem_startup_hook != nullptr) previous_shmem_startup_hook();

  bool found_state = false;
  bool found_slots = false;
  bool found_queue = false;
  bool found_rules = false;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  shared = static_cast<SharedState*>(ShmemInitStruct("pgleak state", sizeof(SharedState), &found_state));
  session_slots = static_cast<SessionSlot*>(ShmemInitStruct("pgleak sessions", slots_size(), &found_slots));
  event_queue = static_cast<EventQueue*>(ShmemInitStruct("pgleak events", queue_size(), &found_queue));
  shared_rules =
      static_cast<SharedRules*>(ShmemInitStruct("pgleak rules", sizeof(SharedRules), &found_rules));
  if (!found_state) initialize_state();
  if (!found_slots)
    for (int i = 0; i < shared->slot_count; i++) new (&session_slots[i]) SessionSlot();
  if (!found_queue) {
    new (event_queue) EventQueue();
    event_queue->initialize(settings.queue_size, pgstat_track_activity_query_size, settings.trail_size);
  }
  create_trails();
  create_prepared_memory();
  create_idle_memory();
  create_pool_memory();
  if (!found_rules) new (shared_rules) SharedRules();  // all zero
  LWLockRelease(AddinShmemInitLock);
}

bool is_worker_at(const std::atomic<std::int32_t>& proc_index) {
  return MyBackendType == B_BG_WORKER &&
         proc_index.load(std::memory_order_relaxed) == compat::my_proc_index();
}

}  // namespace

bool is_scanner() { return is_worker_at(shared->scanner_proc); }

bool is_recorder() { return is_worker_at(shared->recorder_proc); }

ReplayWait published_replay_wait() {
  ReplayWatch watch;
  return shared->replay.read(&watch) ? watch.wait : ReplayWait{};
}

void enter_phase(ManualRequest* request, ManualRequest::Phase next) {
  Assert(LWLockHeldByMeInMode(shared->manual_lock, LW_EXCLUSIVE));
  Assert(next == ManualRequest::Phase::kFree
             ? request->phase != ManualRequest::Phase::kFree
             : static_cast<int>(next) == static_cast<int>(request->phase) + 1);
  Assert(is_scanner() ==
         (next == ManualRequest::Phase::kTaken || request->phase == ManualRequest::Phase::kTaken));
  request->phase = next;
}

Trail* trail_of(int index) {
  Assert(index >= 0 && index < shared->slot_count);
  if (trails == nullptr) return nullptr;
  return reinterpret_cast<Trail*>(trails + static_cast<Size>(index) * trail_stride());
}

int read_trail(int index, XactSeq xact_seq, TrailEntry* copy) {
  const Trail* trail = trail_of(index);
  return trail == nullptr ? 0 : trail->read(xact_seq, copy);
}

namespace {

void add_shown_statement(const char* statement, TagText* text) {
  const std::size_t length = strlen(statement);
  const bool is_cut = length >= static_cast<std::size_t>(pgstat_track_activity_query_size) - 1;
  add_shown_statement(text, statement, length, is_cut);
}

}  // namespace

void read_tags_of(int index, XactSeq xact_seq, const char* statement, TagText* text) {
  session_slot(index).backend.read_tags(xact_seq, text);
  add_shown_statement(statement, text);
}

void read_episode_tags(int index, const Episode& episode, const char* statement, TagText* text) {
  if (!episode.is_session_level) return read_tags_of(index, episode.xact_seq, statement, text);
  const XactSeq next = session_slot(index).backend.report().ended_count;
  read_tags_of(index, next, statement, text);
  if (text->length == 0) read_tags_of(index, next - 1, statement, text);
}

void install_shared_memory_hooks() {
  previous_shmem_request_hook = shmem_request_hook;
  shmem_request_hook = request_shared_memory;
  previous_shmem_startup_hook = shmem_startup_hook;
  shmem_startup_hook = start_shared_memory;
}

}  // namespace pgleak
