// The layout and creation of the module's shared memory. Everything that processes share is declared here or
// in a type named here.
//
// The postmaster creates it; the workers, the client backends and the SQL functions use it. shmem/README.md
// says who writes which field, and under which lock or protocol.
#ifndef PGLEAK_SHMEM_SHARED_MEMORY_HPP
#define PGLEAK_SHMEM_SHARED_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/contention.hpp"
#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/replay_watch.hpp"
#include "core/seqlock.hpp"
#include "core/trail.hpp"
#include "core/xid_clock.hpp"
#include "pg/postgres.hpp"
#include "shmem/action_request.hpp"
#include "shmem/backend_slot.hpp"
#include "shmem/event_queue.hpp"
#include "shmem/pool_memory.hpp"
#include "shmem/prepared_memory.hpp"
#include "shmem/rule_memory.hpp"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
}

namespace pgleak {

// What the scanner knows about the session of one slot. Readers get a whole copy.
struct SessionRecord {
  bool is_open;  // `episode` is an open leak
  Episode episode;
  SessionClocks clocks;
  ImpactSample impact;  // of the open episode, as of the last scan
  bool waits_for_lock;  // its session waits for one itself, as of the last scan
  Action next_action;   // of the open episode; kNone: no action limit applies
  WallTime next_action_at;
  ActionHold hold;     // what keeps it from being taken
  Ending pending_end;  // of `episode`, which is closed; waiting until the queue has room
};

// The answer to a manual request. It is not in the slot, where the next request could replace it before this
// caller has read it.
struct ManualAnswer {
  std::uint64_t request_id;
  ActionResult result;
};
inline constexpr std::uint64_t kManualAnswers = 256;  // sleeping through this many loses one's own

// One per backend, at its index in the backend status array. Aligned to cache lines, because the backend
// writes its half at the end of every transaction.
struct alignas(PG_CACHE_LINE_SIZE) SessionSlot {
  BackendSlot backend;
  alignas(PG_CACHE_LINE_SIZE) SeqLock<SessionRecord> scanner;
  ActionSlot action;
  ManualRequest manual;
  SeqLock<Contention> contention;  // of the open episode, by its id
};

// Counted since server start or pgleak.reset(). The event queue counts its own events.
struct Counters {
  std::atomic<std::uint64_t> scans;
  std::atomic<std::uint64_t> leaks;
  std::atomic<std::uint64_t> cancels;
  std::atomic<std::uint64_t> cancels_failed;
  std::atomic<std::uint64_t> terminates;
  std::atomic<std::uint64_t> skipped;
  std::atomic<std::uint64_t> events_dropped;
  std::atomic<std::uint64_t> recorder_errors;
  std::atomic<std::uint64_t> outcomes[kOutcomeCount];  // ended episodes, by Outcome
};

// The recorder's last error, for pgleak.stats. Protected by SharedState::error_lock.
struct LastError {
  WallTime at;  // none: no error
  char message[256];
};

// There is none, or it was not asked for.
inline constexpr float kUnknownUsage = -1;

struct SharedState {
  std::int32_t slot_count;
  WallTime started_at;
  LWLock* error_lock;
  LastError last_error;
  Counters counters;

  // Position of each worker's PGPROC, to wake it; kNoProcess while it is not running.
  std::atomic<std::int32_t> scanner_proc;
  // Of the last scanner and the one before it, whose signal may still be on its way. Backends recognize their
  // signals by them; see backend/active_action.cpp.
  std::atomic<std::int32_t> scanner_pid;
  std::atomic<std::int32_t> former_scanner_pid;
  std::atomic<std::int32_t> recorder_proc;

  // Written by the scanner.
  std::atomic<std::int64_t> last_leak_id;
  std::atomic<std::uint64_t> open_leaks;
  std::atomic<WallTime> last_scan_at;
  std::atomic<Micros> last_scan_duration;
  std::atomic<WallTime> paused_until;  // more than pgleak.max_actions_per_minute; none: they are not
  // True once any session had its own limit on the transaction clock. Only then must the scanner read active
  // sessions even if the server's own limit is off. Never reset.
  std::atomic<bool> own_transaction_limits;
  std::atomic<Micros> server_limits[kLimitCount];  // the server's own values, as of the last scan

  SeqLock<XidClock> xid_clock;
  SeqLock<ReplayWatch> replay;
  std::atomic<bool> wants_queue_usage;  // an open leak LISTENs

  std::atomic<std::uint32_t> last_nonce;  // of messages to backends

  // For pgleak.cancel() and pgleak.terminate().
  LWLock* manual_lock;
  std::uint64_t last_request_id;                // under manual_lock
  ManualAnswer manual_answers[kManualAnswers];  // at request_id % kManualAnswers; under manual_lock
  std::atomic<std::int32_t> manual_requests;    // slots in phase kAsked
  ConditionVariable manual_answered;

  // pgleak.scan() requests a number. A scan that began later and deferred nothing serves it.
  std::atomic<std::uint64_t> scans_requested;
  std::atomic<std::uint64_t> scans_served;
  ConditionVariable scan_served;

  // Written by the recorder.
  std::atomic<float> notify_queue_usage;  // share of the notification queue that is in use; kUnknownUsage
  std::atomic<bool> is_recording;
  std::atomic<bool> stale_rows_completed;     // rows that an earlier run left open are completed
  std::atomic<std::int32_t> failed_connects;  // in a row; see database_connection.cpp
  std::atomic<bool> may_connect;              // after a failure, the wait for the database is over

  PoolMemory pools;
};

// The wait of replay on a standby, for those who read the lock waits. Outside of the scanner.
ReplayWait published_replay_wait();

// nullptr in a process that was not forked with the library preloaded.
extern SharedState* shared;
extern SessionSlot* session_slots;  // shared->slot_count of them; see session_slot()
extern EventQueue* event_queue;
extern SharedRules* shared_rules;

// Moves a request to its next phase. The caller holds manual_lock exclusively.
void enter_phase(ManualRequest* request, ManualRequest::Phase next);

// Which worker this process is, for assertions.
bool is_scanner();
bool is_recorder();

// The slot at `index` of the backend status array; 0 <= index < shared->slot_count.
inline SessionSlot& session_slot(int index) {
  Assert(index >= 0 && index < shared->slot_count);
  return session_slots[index];
}

// The trail of the session in slot `index`; nullptr if pgleak.trail_size is 0. Trails have an array of their
// own because their size depends on that setting.
Trail* trail_of(int index);

// Copies the trail of transaction `xact_seq` in slot `index`, as Trail::read does. Returns 0 without trails.
int read_trail(int index, XactSeq xact_seq, TrailEntry* copy);

// Copies the tags of transaction `xact_seq` of the session in slot `index`. Empty if there are none.
// `statement`: what the session shows, with a NUL at its end.
void read_tags_of(int index, XactSeq xact_seq, const char* statement, TagText* text);

// The same for an episode: the tags of its transaction or, if it goes beyond transactions, of the newest one
// that has any, this or the one before.
void read_episode_tags(int index, const Episode& episode, const char* statement, TagText* text);

// Makes the postmaster reserve and initialize the memory. Call from _PG_init only. Never ereports.
void install_shared_memory_hooks();

}  // namespace pgleak

#endif
