#include "server/event_queue.hpp"

#include "server/postgres.hpp"

namespace pgleak {

namespace {

std::size_t header_size() { return MAXALIGN(sizeof(EventQueue)); }

std::size_t stride_for(int statement_size) {
  return MAXALIGN(sizeof(Event) + static_cast<std::size_t>(statement_size));
}

}  // namespace

std::size_t EventQueue::size_in_memory(int capacity, int statement_size) {
  return header_size() + static_cast<std::size_t>(capacity) * stride_for(statement_size);
}

void EventQueue::initialize(int capacity, int statement_size) {
  capacity_ = static_cast<std::uint64_t>(capacity);
  stride_ = stride_for(statement_size);
}

Event* EventQueue::place(std::uint64_t number) const {
  char* first = reinterpret_cast<char*>(const_cast<EventQueue*>(this)) + header_size();
  return reinterpret_cast<Event*>(first + (number % capacity_) * stride_);
}

Event* EventQueue::start_put() { return ring_.is_full(capacity_) ? nullptr : place(ring_.next_to_write()); }

const Event* EventQueue::peek(std::uint64_t index) const { return place(ring_.next_to_read() + index); }

}  // namespace pgleak
