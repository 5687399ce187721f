// Owns: a session's trail: the last statements of its transaction, in memory that processes share.
// Written by the session's own backend at every statement, read by the scanner and the SQL functions.
// Must never allocate, block or know the server; a reader gives up after a bounded number of tries. Never
// ereports.
#ifndef PGLEAK_CORE_TRAIL_HPP
#define PGLEAK_CORE_TRAIL_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/assert.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr int kMaxTrailSize = 32;    // statements
inline constexpr int kTrailTextSize = 128;  // bytes of each

// A piece of somebody else's text.
struct TextSpan {
  const char* text;
  int length;  // bytes
};

// The text of one statement in `source`, which holds what the client sent, at most kTrailTextSize bytes, with
// no white space around it. `location` and `length` are the server's: -1 and 0 mean the beginning and the end
// of `source`. Comments in front of the first statement belong to it: they tell where it comes from, though
// newer servers leave them out of its location.
TextSpan statement_text(const char* source, int location, int length);

// The same, for any of them; the former is quicker with those that are plain.
TextSpan find_statement_text(const char* source, int location, int length);

// One statement. Its text is in the encoding of the session's database, without a NUL, and may be cut in the
// middle of a character: the reader, who has time, mends that.
struct TrailEntry {
  WallTime at;
  std::uint64_t query_id;  // 0 unknown
  std::uint16_t length;    // of the text, in bytes
  char text[kTrailTextSize];
};

// The statements of one transaction, the newest ones if they are too many. One writer, any number of readers,
// by the protocol of core/versioned.hpp. The entries follow in memory.
class TrailRing {
 public:
  static std::size_t size_in_memory(int capacity) {
    return sizeof(TrailRing) + static_cast<std::size_t>(capacity) * sizeof(TrailEntry);
  }

  // The writer's own view.
  XactSeq xact_seq() const { return generation_; }

  // Puts a statement behind the others of its transaction; those of another transaction are forgotten.
  void add(int capacity, XactSeq xact_seq, WallTime at, std::uint64_t query_id, TextSpan text);

  // Copies the statements of `xact_seq`, oldest first, and returns their number: 0 also if the ring holds
  // those of another transaction or the writer was in the way kReadTries times.
  int read(int capacity, XactSeq xact_seq, TrailEntry* copy) const;

 private:
  static constexpr int kReadTries = 1000;

  TrailEntry* entries() { return reinterpret_cast<TrailEntry*>(this + 1); }
  const TrailEntry* entries() const { return reinterpret_cast<const TrailEntry*>(this + 1); }
  int copy_entries(int capacity, TrailEntry* copy) const;

  std::atomic<std::uint32_t> version_;
  // Never outside of their range, so that a reader who comes at the wrong moment stays inside the ring.
  std::atomic<std::int32_t> count_;  // statements in it
  std::atomic<std::int32_t> next_;   // the place of the next one
  XactSeq generation_;
};

// The trail of one session slot. There are two rings, so that the transaction of an open episode can keep its
// statements until the episode is closed, however many transactions follow it meanwhile.
class Trail {
 public:
  static std::size_t size_in_memory(int capacity) {
    return sizeof(Trail) + kRings * TrailRing::size_in_memory(capacity);
  }

  // To be called once, on memory that is all zero.
  void initialize(int capacity) { capacity_ = capacity; }

  // The session's backend: a statement of the transaction `xact_seq`. `kept` is the transaction whose
  // statements somebody still wants.
  void add(XactSeq xact_seq, XactSeq kept, WallTime at, std::uint64_t query_id, TextSpan text);

  // Everybody: copies the statements of `xact_seq`, oldest first, into `copy`, which has room for the
  // capacity, and returns their number; 0 if they are not known, or not now.
  int read(XactSeq xact_seq, TrailEntry* copy) const;

 private:
  static constexpr int kRings = 2;

  TrailRing* ring(int index) {
    return reinterpret_cast<TrailRing*>(reinterpret_cast<char*>(this + 1) +
                                        static_cast<std::size_t>(index) *
                                            TrailRing::size_in_memory(capacity_));
  }
  const TrailRing* ring(int index) const { return const_cast<Trail*>(this)->ring(index); }

  std::int32_t capacity_;
  std::int32_t current_;  // the ring in use; the writer's
};

// What every statement pays for stands here, so that it becomes a part of the hook that calls it.

inline TextSpan statement_text(const char* source, int location, int length) {
  // Mostly a statement is all that was sent, and begins and ends with what is not white space.
  const auto is_visible = [](char c) { return static_cast<unsigned char>(c) > ' '; };
  if (location > 0 || !is_visible(source[0])) return find_statement_text(source, location, length);
  const bool is_short = location == 0 && length > 0 && length <= kTrailTextSize;
  const int size = is_short ? length : static_cast<int>(strnlen(source, kTrailTextSize));
  return is_visible(source[size - 1]) ? TextSpan{source, size}
                                      : find_statement_text(source, location, length);
}

inline void TrailRing::add(int capacity, XactSeq xact_seq, WallTime at, std::uint64_t query_id,
                           TextSpan text) {
  const std::uint32_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  if (generation_ != xact_seq) {
    generation_ = xact_seq;
    count_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
  }
  const int place = next_.load(std::memory_order_relaxed);
  const int count = count_.load(std::memory_order_relaxed);
  PGLEAK_ASSERT(place < capacity && count <= capacity && text.length <= kTrailTextSize);
  TrailEntry& entry = entries()[place];
  entry.at = at;
  entry.query_id = query_id;
  entry.length = static_cast<std::uint16_t>(text.length);
  std::memcpy(entry.text, text.text, static_cast<std::size_t>(text.length));
  next_.store(place + 1 == capacity ? 0 : place + 1, std::memory_order_relaxed);
  if (count < capacity) count_.store(count + 1, std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);
}

inline void Trail::add(XactSeq xact_seq, XactSeq kept, WallTime at, std::uint64_t query_id, TextSpan text) {
  TrailRing* used = ring(current_);
  if (used->xact_seq() != xact_seq && used->xact_seq() == kept) {
    current_ = 1 - current_;
    used = ring(current_);
  }
  used->add(capacity_, xact_seq, at, query_id, text);
}

}  // namespace pgleak

#endif
