#include "core/trail.hpp"

#include <cstring>

#include "core/racing_copy.hpp"

namespace pgleak {

namespace {

// The white space of the server's lexer.
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

// Returns the end of the comment that starts at `text`, or `text` if none does. A line comment ends before
// its newline; a block comment may contain others.
const char* skip_comment(const char* text, const char* end) {
  const auto starts = [&text, end](const char* mark) {
    return end - text >= 2 && text[0] == mark[0] && text[1] == mark[1];
  };
  const char* const start = text;
  if (starts("--")) {
    while (text < end && *text != '\n' && *text != '\r') text++;
    return text;
  }
  if (!starts("/*")) return text;
  int depth = 0;
  while (text < end) {
    if (starts("/*")) {
      depth++;
      text += 2;
    } else if (starts("*/")) {
      depth--;
      text += 2;
      if (depth == 0) return text;
    } else {
      text++;
    }
  }
  return start;
}

bool holds_only_comments(const char* text, const char* end) {
  while (text < end) {
    const char* const next = is_space(*text) ? text + 1 : skip_comment(text, end);
    if (next == text) return false;
    text = next;
  }
  return true;
}

// The text is whole only up to its length, which is copied with it.
void copy_entry(TrailEntry* target, const TrailEntry& source) {
  copy_racing(target, source);
  target->omitted = 0;
}

}  // namespace

TextSpan find_statement_text(const char* source, int location, int length) {
  // A statement of unknown location is taken to be all of the text.
  const char* text = location > 0 ? source + location : source;
  const bool is_open = location < 0 || length <= 0;  // extends to the NUL
  const char* const limit = text + (is_open ? 0 : length);
  // Looks no further ahead than the text that is kept, because this runs before every such statement.
  if (location > 0 && location <= kTrailTextSize && holds_only_comments(source, text)) text = source;

  while ((is_open || text < limit) && is_space(*text)) text++;
  const char* end = is_open || limit - text > kTrailTextSize ? text + strnlen(text, kTrailTextSize) : limit;
  while (end > text && is_space(end[-1])) end--;
  return TextSpan{text, static_cast<int>(end - text)};
}

template <typename Copy>
int TrailRing::read_with(XactSeq xact_seq, Copy copy) const {
  for (int i = 0; i < kReadTries; i++) {
    const std::uint32_t before = version_.load(std::memory_order_acquire);
    if (before & 1) continue;
    XactSeq of_ring;
    copy_racing(&of_ring, xact_seq_);
    const int count = of_ring == xact_seq ? copy() : 0;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version_.load(std::memory_order_relaxed) == before) return count;
  }
  return 0;
}

int TrailRing::read(int capacity, XactSeq xact_seq, TrailEntry* copy) const {
  return read_with(xact_seq, [this, capacity, copy] { return copy_entries(capacity, copy); });
}

bool TrailRing::read_newest(XactSeq xact_seq, TrailEntry* copy) const {
  return read_with(xact_seq, [this, copy] { return copy_newest(copy); }) > 0;
}

int TrailRing::copy_newest(TrailEntry* copy) const {
  copy_entry(copy, entries()[newest_.load(std::memory_order_relaxed)]);
  return count_.load(std::memory_order_relaxed);
}

int TrailRing::copy_entries(int capacity, TrailEntry* copy) const {
  const int count = count_.load(std::memory_order_relaxed);
  const int newest = newest_.load(std::memory_order_relaxed);
  const int kept = kept_of(capacity);
  int place = count < capacity ? kept : next_place(capacity, count, newest);
  for (int i = 0; i < count; i++) {
    const bool is_kept = i < kept;
    copy_entry(&copy[i], entries()[is_kept ? i : place]);
    if (!is_kept) place = place + 1 == capacity ? kept : place + 1;
  }
  if (count == capacity) copy_racing(&copy[kept].omitted, omitted_);
  return count;
}

bool Trail::read_newest(XactSeq xact_seq, TrailEntry* copy) const {
  for (int i = 0; i < kRings; i++)
    if (ring(i)->read_newest(xact_seq, copy)) return true;
  return false;
}

int Trail::read(XactSeq xact_seq, TrailEntry* copy) const {
  for (int i = 0; i < kRings; i++) {
    const int count = ring(i)->read(capacity_, xact_seq, copy);
    if (count > 0) return count;
  }
  return 0;
}

}  // namespace pgleak
