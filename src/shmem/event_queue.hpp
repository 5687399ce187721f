// Owns: the queue of events from the scanner to the recorder, in shared memory.
// The scanner puts, the recorder reads and finishes; nobody else. Never allocates, blocks or ereports.
#ifndef PGLEAK_SHMEM_EVENT_QUEUE_HPP
#define PGLEAK_SHMEM_EVENT_QUEUE_HPP

#include <atomic>
#include <cstdint>

#include "core/episode.hpp"
#include "core/spsc_ring.hpp"
#include "core/trail.hpp"

namespace pgleak {

// kBlocking: the leak has begun to keep other sessions waiting, once in an episode.
enum class EventKind : std::uint8_t { kOpened, kBlocking, kActed, kEnded };

// One event: the episode as it was, followed in memory by the trail and the statement.
struct Event {
  EventKind kind;
  Ending ending;  // of kEnded; of others the outcome so far
  Episode episode;
  std::int32_t trail_length;      // statements; 0: nothing is known of them
  std::int32_t statement_length;  // bytes, without the NUL

  TrailEntry* trail() { return reinterpret_cast<TrailEntry*>(this + 1); }
  const TrailEntry* trail() const { return reinterpret_cast<const TrailEntry*>(this + 1); }
  // Its place is known once trail_length is.
  char* statement() { return reinterpret_cast<char*>(trail() + trail_length); }
  const char* statement() const { return reinterpret_cast<const char*>(trail() + trail_length); }
};

// Of the events that were put into the queue, those that wait included, how many were written.
struct EventCounts {
  std::uint64_t queued;
  std::uint64_t written;  // <= queued
};

class EventQueue {
 public:
  // Bytes of shared memory for `capacity` events with statements of up to `statement_size` bytes
  // including the NUL, and up to `trail_size` statements of the trail.
  static std::size_t size_in_memory(int capacity, int statement_size, int trail_size);
  void initialize(int capacity, int statement_size, int trail_size);

  // Scanner: the place for the next event with room for its texts, or nullptr if the queue is full.
  // It counts only after finish_put().
  Event* start_put();
  void finish_put();

  // Recorder: the `index`-th event waiting, 0 being the oldest; index < waiting().
  const Event* peek(std::uint64_t index) const;
  void finish_oldest(std::uint64_t count);

  std::uint64_t waiting() const { return ring_.size(); }

  // Since the server started or count_from_now(), which goes on counting those that wait.
  EventCounts counts() const;
  void count_from_now() { counted_from_.store(ring_.taken_out(), std::memory_order_relaxed); }

 private:
  Event* place(std::uint64_t number) const;

  SpscRing ring_;
  std::atomic<std::uint64_t> counted_from_;  // number of the first event that counts
  std::uint64_t capacity_;
  std::uint64_t stride_;  // bytes from one event to the next
};

// Scanner: puts an event about `episode`, which is that of slot `index`, into the queue and wakes the
// recorder; false if the queue is full. `statement` goes with the first event of an episode, later ones have
// none; the trail so far goes with each.
bool put_event(EventKind kind, int index, const Episode& episode, const char* statement,
               const Ending& ending);

// The same for an event that is dropped if the queue is full, and counted.
void queue_event(EventKind kind, int index, const Episode& episode, const char* statement);

}  // namespace pgleak

#endif
