// A session's trail: the first and the newest statements of its transaction, in shared memory. Its own
// backend writes it at every statement; the scanner and the SQL functions read it.
//
// Never allocates, blocks or ereports; a reader gives up after a bounded number of tries.
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

// A piece of text that belongs to the caller.
struct TextSpan {
  const char* text;
  int length;  // bytes
};

// Returns the text of one statement in `source`, which is what the client sent: at most kTrailTextSize bytes,
// without surrounding white space. `location` and `length` are the server's: -1 and 0 mean the start and the
// end of `source`. Comments before the first statement are included, because they tell where it comes from;
// newer servers leave them out of its location.
TextSpan statement_text(const char* source, int location, int length);

// The general case of statement_text(), which has a fast path for plain statements.
TextSpan find_statement_text(const char* source, int location, int length);

// The same for a message that is one statement, as long as `size` bytes say.
TextSpan message_text(const char* message, std::size_t size);

// One statement, or the same one several times in a row. Its text is in the encoding of the session's
// database, contains no NUL, and may end within a character. Readers repair that, because they have the time.
struct TrailEntry {
  WallTime at;             // when it began, for the first time
  WallTime last_at;        // and for the last time
  std::uint64_t query_id;  // 0: unknown
  Micros idle_before;      // how long the session was idle in the transaction before it; negative: not known
  Micros idle_within;      // and between its repetitions
  std::uint32_t count;     // how often it ran in a row
  std::uint32_t omitted;   // entries before it that did not fit; set by read()
  std::uint16_t length;    // of the text, in bytes
  char text[kTrailTextSize];
};

// A statement that begins. `idle_sum`: how long the session has been idle in transactions so far; negative:
// not known.
struct TrailStatement {
  WallTime at;
  std::uint64_t query_id;
  Micros idle_sum;
  TextSpan text;
};

// The statements of one transaction or, if they do not all fit, the first two, which tell what it set out to
// do, and the newest. One writer, any number of readers, with the protocol of core/seqlock.hpp. The entries
// follow in memory.
class TrailRing {
 public:
  static std::size_t size_in_memory(int capacity) {
    return sizeof(TrailRing) + static_cast<std::size_t>(capacity) * sizeof(TrailEntry);
  }

  // The writer's own view.
  XactSeq xact_seq() const { return xact_seq_; }

  // Adds a statement of transaction `xact_seq`. Statements of another transaction are dropped.
  void add(int capacity, XactSeq xact_seq, const TrailStatement& statement);

  // Copies the statements of `xact_seq`, oldest first, and returns their number. Returns 0 if the ring holds
  // another transaction, or if the writer interfered kReadTries times.
  int read(int capacity, XactSeq xact_seq, TrailEntry* copy) const;

  // Copies the newest statement of `xact_seq`. Returns false where read() returns 0.
  bool read_newest(XactSeq xact_seq, TrailEntry* copy) const;

 private:
  static constexpr int kReadTries = 1000;

  // How many of the first entries stay.
  static int kept_of(int capacity) { return capacity > 2 ? 2 : capacity - 1; }

  // The place of the entry after the newest one; that of the oldest that does not stay, if the ring is full.
  static int next_place(int capacity, int count, int newest) {
    if (count < capacity) return count;
    return newest + 1 == capacity ? kept_of(capacity) : newest + 1;
  }

  static bool is_same(const TrailEntry& entry, const TrailStatement& statement) {
    return entry.query_id == statement.query_id && entry.length == statement.text.length &&
           std::memcmp(entry.text, statement.text.text, entry.length) == 0;
  }

  TrailEntry* entries() { return reinterpret_cast<TrailEntry*>(this + 1); }
  const TrailEntry* entries() const { return reinterpret_cast<const TrailEntry*>(this + 1); }
  int copy_entries(int capacity, TrailEntry* copy) const;
  int copy_newest(TrailEntry* copy) const;

  // Calls copy(), which returns the number of entries it has copied, until no writer interferes.
  template <typename Copy>
  int read_with(XactSeq xact_seq, Copy copy) const;

  std::atomic<std::uint32_t> version_;
  // Always in range, so that a reader during a write stays inside the ring.
  std::atomic<std::int32_t> count_;   // entries in it
  std::atomic<std::int32_t> newest_;  // the place of the newest one; 0 if there is none
  std::uint32_t omitted_;             // entries that others have replaced
  XactSeq xact_seq_;
  Micros idle_sum_;  // as of the newest statement; only the writer reads it
};

// The trail of one session slot. Two rings, so that the transaction of an open episode keeps its statements
// until the episode ends, however many transactions follow.
class Trail {
 public:
  static std::size_t size_in_memory(int capacity) {
    return sizeof(Trail) + kRings * TrailRing::size_in_memory(capacity);
  }

  // Call it once, on zeroed memory.
  void initialize(int capacity) { capacity_ = capacity; }

  // The session's backend: adds a statement of transaction `xact_seq`. `kept` is the transaction whose
  // statements must be kept.
  void add(XactSeq xact_seq, XactSeq kept, const TrailStatement& statement);

  // Any process: copies the newest statement of `xact_seq`. Returns false where read() returns 0.
  bool read_newest(XactSeq xact_seq, TrailEntry* copy) const;

  // Any process: copies the statements of `xact_seq`, oldest first, into `copy`, which must have room for the
  // capacity. Returns their number; 0 if they are unknown, or cannot be read now.
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
  std::int32_t current_;  // the ring in use; only the writer reads it
};

// The code that every statement runs is inline, so that it becomes part of the hook that calls it.

inline bool is_visible(char c) { return static_cast<unsigned char>(c) > ' '; }

inline TextSpan message_text(const char* message, std::size_t size) {
  if (size > kTrailTextSize) size = kTrailTextSize;
  if (size > 0 && is_visible(message[0]) && is_visible(message[size - 1]))
    return TextSpan{message, static_cast<int>(size)};
  return find_statement_text(message, 0, 0);
}

inline TextSpan statement_text(const char* source, int location, int length) {
  // Usually the statement is the whole text, without white space at either end.
  if (location > 0 || !is_visible(source[0])) return find_statement_text(source, location, length);
  const bool is_short = location == 0 && length > 0 && length <= kTrailTextSize;
  const int size = is_short ? length : static_cast<int>(strnlen(source, kTrailTextSize));
  return is_visible(source[size - 1]) ? TextSpan{source, size}
                                      : find_statement_text(source, location, length);
}

[[gnu::always_inline]] inline void TrailRing::add(int capacity, XactSeq xact_seq,
                                                  const TrailStatement& statement) {
  const std::uint32_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  if (xact_seq_ != xact_seq) {
    xact_seq_ = xact_seq;
    count_.store(0, std::memory_order_relaxed);
    newest_.store(0, std::memory_order_relaxed);
    omitted_ = 0;
    idle_sum_ = statement.idle_sum;  // what came before the transaction is no part of it
  }
  const int count = count_.load(std::memory_order_relaxed);
  const int newest = newest_.load(std::memory_order_relaxed);
  PGLEAK_ASSERT(newest < capacity && count <= capacity && statement.text.length <= kTrailTextSize);
  const Micros idle = statement.idle_sum < Micros{0} ? statement.idle_sum : statement.idle_sum - idle_sum_;
  idle_sum_ = statement.idle_sum;
  TrailEntry& last = entries()[newest];
  if (count > 0 && is_same(last, statement)) {
    last.last_at = statement.at;
    last.idle_within = last.idle_within + idle;
    last.count++;
  } else {
    const int place = next_place(capacity, count, newest);
    TrailEntry& entry = entries()[place];
    entry.at = entry.last_at = statement.at;
    entry.query_id = statement.query_id;
    entry.idle_before = idle;
    entry.idle_within = Micros{0};
    entry.count = 1;
    entry.length = static_cast<std::uint16_t>(statement.text.length);
    std::memcpy(entry.text, statement.text.text, static_cast<std::size_t>(statement.text.length));
    newest_.store(place, std::memory_order_relaxed);
    if (count < capacity)
      count_.store(count + 1, std::memory_order_relaxed);
    else
      omitted_++;
  }
  version_.store(version + 2, std::memory_order_release);
}

[[gnu::always_inline]] inline void Trail::add(XactSeq xact_seq, XactSeq kept,
                                              const TrailStatement& statement) {
  TrailRing* used = ring(current_);
  if (used->xact_seq() != xact_seq && used->xact_seq() == kept) {
    current_ = 1 - current_;
    used = ring(current_);
  }
  used->add(capacity_, xact_seq, statement);
}

}  // namespace pgleak

#endif
