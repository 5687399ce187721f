// Owns: the module's shared memory: its size, its layout, its creation. Everything that processes
// share is declared here or in a type named here.
// Created by the postmaster, used by the workers, the guests and the SQL functions.
#ifndef PGLEAK_SHMEM_SHARED_MEMORY_HPP
#define PGLEAK_SHMEM_SHARED_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/seqlock.hpp"
#include "core/trail.hpp"
#include "pg/postgres.hpp"
#include "shmem/action_request.hpp"
#include "shmem/backend_slot.hpp"
#include "shmem/event_queue.hpp"
#include "shmem/pool_memory.hpp"
#include "shmem/rule_memory.hpp"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
}

namespace pgleak {

// What the scanner knows of the session of one backend slot; readers get a whole copy.
struct SessionRecord {
  bool is_open;  // `episode` is an open leak
  Episode episode;
  SessionClocks clocks;
  ImpactSample impact;  // what the open episode hurts, as of the last look
  Action next_action;   // of the open episode; kNone: no limit of an action applies
  WallTime next_action_at;
  Ending pending_end;  // of `episode`, which is not open any more: the queue had no room for it yet
};

// The answer to a request by hand. Not in the slot: there the next request may be before the asker of this
// one has read it.
struct ManualAnswer {
  std::uint64_t request_id;
  ActionResult result;
};
inline constexpr std::uint64_t kManualAnswers = 256;  // an asker that sleeps through so many misses its own

// One per backend, at the index of the backend status array. Aligned to cache lines: the guest writes
// its half at the end of every transaction.
struct alignas(PG_CACHE_LINE_SIZE) SessionSlot {
  BackendSlot backend;
  alignas(PG_CACHE_LINE_SIZE) SeqLock<SessionRecord> scanner;
  ActionSlot action;
  ManualRequest manual;
};

// Counted since the server started or pgleak.reset(). Other events are counted by the queue itself.
struct Counters {
  std::atomic<std::uint64_t> scans;
  std::atomic<std::uint64_t> leaks;
  std::atomic<std::uint64_t> cancels;
  std::atomic<std::uint64_t> cancels_failed;
  std::atomic<std::uint64_t> terminates;
  std::atomic<std::uint64_t> skipped;
  std::atomic<std::uint64_t> events_dropped;
  std::atomic<std::uint64_t> recorder_errors;
  std::atomic<std::uint64_t> outcomes[kOutcomeCount];  // episodes that ended, by Outcome
};

// The last error of the recorder, for pgleak.stats. Under SharedState::error_lock.
struct LastError {
  WallTime at;  // none: no error
  char message[256];
};

struct SharedState {
  std::int32_t slot_count;
  WallTime started_at;
  LWLock* error_lock;
  LastError last_error;
  Counters counters;

  // Position of each worker's PGPROC, to wake it; kNoProcess while it does not run.
  std::atomic<std::int32_t> scanner_proc;
  std::atomic<std::int32_t> recorder_proc;

  // Scanner.
  std::atomic<std::int64_t> last_leak_id;
  std::atomic<std::uint64_t> open_leaks;
  std::atomic<WallTime> last_scan_at;
  std::atomic<Micros> last_scan_duration;
  // True once any session had a limit of its own on the transaction clock: only then must the scanner
  // look at active sessions although the server's own limit is off. Never falls back.
  std::atomic<bool> own_transaction_limits;
  std::atomic<Micros> server_limits[kLimitCount];  // the server's own values, as of the last look

  std::atomic<std::uint32_t> last_nonce;  // of messages to backends

  // pgleak.cancel() and pgleak.terminate().
  LWLock* manual_lock;
  std::uint64_t last_request_id;                // under manual_lock
  ManualAnswer manual_answers[kManualAnswers];  // that of a request_id at request_id % kManualAnswers; under
                                                // manual_lock
  std::atomic<std::int32_t> manual_requests;    // slots in phase kAsked
  ConditionVariable manual_answered;

  // pgleak.scan(): a number is asked for, and served by a scan that began after that and left no work.
  std::atomic<std::uint64_t> scans_requested;
  std::atomic<std::uint64_t> scans_served;
  ConditionVariable scan_served;

  // Recorder.
  std::atomic<bool> is_recording;
  std::atomic<bool> stale_rows_completed;     // rows that an earlier run left open are 'server stopped'
  std::atomic<std::int32_t> failed_connects;  // in a row; see database_connection.cpp
  std::atomic<bool> may_connect;              // after a failure: the wait for the database is over

  PoolMemory pools;
};

// Valid in every process that was forked with the library preloaded; nullptr otherwise.
extern SharedState* shared;
extern SessionSlot* session_slots;  // shared->slot_count of them; see session_slot()
extern EventQueue* event_queue;
extern SharedRules* shared_rules;

// Moves a request on to its next phase, under manual_lock.
void enter_phase(ManualRequest* request, ManualRequest::Phase next);

// Which process this is, for assertions.
bool is_scanner();
bool is_recorder();

// The slot at `index` of the backend status array; 0 <= index < shared->slot_count.
inline SessionSlot& session_slot(int index) {
  Assert(index >= 0 && index < shared->slot_count);
  return session_slots[index];
}

// The trail of the session in slot `index`; nullptr if pgleak.trail_size is 0. They have an array of their
// own, as long as the setting wants it.
Trail* trail_of(int index);

// The trail of transaction `xact_seq` in slot `index`: as Trail::read, and 0 without trails.
int read_trail(int index, XactSeq xact_seq, TrailEntry* copy);

// Arranges that the postmaster reserves and initialises the memory. From _PG_init only.
void install_shared_memory_hooks();

}  // namespace pgleak

#endif
