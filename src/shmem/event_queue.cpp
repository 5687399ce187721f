#include "shmem/event_queue.hpp"

#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/worker.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

namespace {

std::size_t header_size() { return MAXALIGN(sizeof(EventQueue)); }

std::size_t stride_for(int statement_size, int trail_size) {
  return MAXALIGN(sizeof(Event) + static_cast<std::size_t>(trail_size) * sizeof(TrailEntry) +
                  static_cast<std::size_t>(Max(statement_size, kGidSize)));
}

const Contention& contention_of(int index, HolderKind kind) {
  return kind == HolderKind::kSession ? session_slot(index).contention.current()
                                      : prepared_slot(index).contention.current();
}

void copy_worst_moment(int index, const Episode& episode, Event* event) {
  const Contention& known = contention_of(index, episode.kind);
  event->held.count = 0;
  event->waiting.count = 0;
  if (known.leak_id != episode.leak_id) return;
  event->held = known.worst_held;
  if (known.waiting.count > 0) event->waiting = known.waiting;
}

}  // namespace

std::size_t EventQueue::size_in_memory(int capacity, int statement_size, int trail_size) {
  return header_size() + static_cast<std::size_t>(capacity) * stride_for(statement_size, trail_size);
}

void EventQueue::initialize(int capacity, int statement_size, int trail_size) {
  capacity_ = static_cast<std::uint64_t>(capacity);
  stride_ = stride_for(statement_size, trail_size);
}

Event* EventQueue::place(std::uint64_t number) const {
  char* first = reinterpret_cast<char*>(const_cast<EventQueue*>(this)) + header_size();
  return reinterpret_cast<Event*>(first + (number % capacity_) * stride_);
}

Event* EventQueue::start_put() {
  Assert(is_scanner());
  return ring_.is_full(capacity_) ? nullptr : place(ring_.next_to_write());
}

void EventQueue::finish_put() {
  Assert(is_scanner() && !ring_.is_full(capacity_));
  ring_.finish_write();
}

void EventQueue::finish_oldest(std::uint64_t count) {
  Assert(is_recorder() && count <= ring_.size());
  ring_.finish_read(count);
}

const Event* EventQueue::peek(std::uint64_t index) const {
  Assert(is_recorder() && index < ring_.size());
  return place(ring_.next_to_read() + index);
}

EventCounts EventQueue::counts() const {
  const std::uint64_t from = counted_from_.load(std::memory_order_relaxed);
  // The order matters, because both counters only grow.
  const std::uint64_t taken_out = ring_.taken_out();
  const std::uint64_t put_in = ring_.put_in();
  return EventCounts{put_in - from, taken_out - from};
}

bool put_event(EventKind kind, int index, const Episode& episode, const char* text, const Ending& ending) {
  Event* event = event_queue->start_put();
  if (event == nullptr) return false;
  const bool is_session = episode.kind == HolderKind::kSession;
  event->kind = kind;
  event->ending = ending;
  event->episode = episode;
  copy_worst_moment(index, episode, event);
  if (is_session && kind == EventKind::kOpened)
    read_episode_tags(index, episode, text, &event->tags);
  else
    clear(&event->tags);
  event->trail_length = is_session ? read_trail(index, episode.xact_seq, event->trail()) : 0;
  event->text_length = static_cast<std::int32_t>(strlcpy(
      event->text(), text, static_cast<std::size_t>(Max(pgstat_track_activity_query_size, kGidSize))));
  event_queue->finish_put();
  wake_worker(shared->recorder_proc);
  return true;
}

void queue_event(EventKind kind, int index, const Episode& episode, const char* text) {
  if (!put_event(kind, index, episode, text, Ending{outcome_so_far(episode), WallTime::none(), Micros{0}}))
    shared->counters.events_dropped++;
}

}  // namespace pgleak
