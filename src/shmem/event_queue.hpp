// The queue of events from the scanner to the recorder, in shared memory. Only the scanner puts events in;
// only the recorder reads and removes them.
//
// Never allocates, blocks or ereports.
#ifndef PGLEAK_SHMEM_EVENT_QUEUE_HPP
#define PGLEAK_SHMEM_EVENT_QUEUE_HPP

#include <atomic>
#include <cstdint>

#include "core/contention.hpp"
#include "core/episode.hpp"
#include "core/spsc_ring.hpp"
#include "core/tag_text.hpp"
#include "core/trail.hpp"

namespace pgleak {

// kBlocking: the leak has started to block other sessions; once per episode.
enum class EventKind : std::uint8_t { kOpened, kBlocking, kActed, kEnded };

// One event: the episode at that moment, followed in memory by its trail and a text: the statement of a
// session's first event, or the gid of the prepared transaction that the event is about.
struct Event {
  EventKind kind;
  Ending ending;  // for kEnded; for the others, the outcome so far
  Episode episode;
  HeldLocks held;  // at the worst moment so far, as `waiting`
  WaitingSessions waiting;
  TagText tags;               // of a session's first event; empty: there are none
  std::int32_t trail_length;  // number of statements; 0: none known
  std::int32_t text_length;   // bytes, without the NUL

  TrailEntry* trail() { return reinterpret_cast<TrailEntry*>(this + 1); }
  const TrailEntry* trail() const { return reinterpret_cast<const TrailEntry*>(this + 1); }
  // Valid once trail_length is set.
  char* text() { return reinterpret_cast<char*>(trail() + trail_length); }
  const char* text() const { return reinterpret_cast<const char*>(trail() + trail_length); }

  // A session that has prepared its transaction names it, too.
  bool has_gid() const {
    return text_length > 0 && (episode.kind == HolderKind::kPreparedTransaction ||
                               (kind == EventKind::kEnded && ending.outcome == Outcome::kPrepared));
  }
};

// Events put into the queue, including those still waiting, and events written.
struct EventCounts {
  std::uint64_t queued;
  std::uint64_t written;  // <= queued
};

class EventQueue {
 public:
  // Returns the bytes of shared memory for `capacity` events with statements of up to `statement_size` bytes,
  // including the NUL (but room for a gid at least), and trails of up to `trail_size` statements.
  static std::size_t size_in_memory(int capacity, int statement_size, int trail_size);
  void initialize(int capacity, int statement_size, int trail_size);

  // Scanner: returns the place of the next event, with room for its texts, or nullptr if the queue is full.
  // The event enters the queue with finish_put().
  Event* start_put();
  void finish_put();

  // Recorder: the `index`-th waiting event, 0 being the oldest; index < waiting().
  const Event* peek(std::uint64_t index) const;
  void finish_oldest(std::uint64_t count);

  std::uint64_t waiting() const { return ring_.size(); }

  // Counts since the server started or count_from_now() was called, which keeps counting the waiting events.
  EventCounts counts() const;
  void count_from_now() { counted_from_.store(ring_.taken_out(), std::memory_order_relaxed); }

 private:
  Event* place(std::uint64_t number) const;

  SpscRing ring_;
  std::atomic<std::uint64_t> counted_from_;  // number of the first event to count
  std::uint64_t capacity_;
  std::uint64_t stride_;  // bytes between two events
};

// Scanner: queues an event about `episode` of session slot `index` or, if its kind says so, of the prepared
// transaction at place `index`, and wakes the recorder. Returns false if the queue is full. `text` as in
// Event; every event carries the trail so far.
bool put_event(EventKind kind, int index, const Episode& episode, const char* text, const Ending& ending);

// As put_event(), but drops and counts the event if the queue is full.
void queue_event(EventKind kind, int index, const Episode& episode, const char* text);

}  // namespace pgleak

#endif
