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

int TrailRing::read(int capacity, XactSeq xact_seq, TrailEntry* copy) const {
  for (int i = 0; i < kReadTries; i++) {
    const std::uint32_t before = version_.load(std::memory_order_acquire);
    if (before & 1) continue;
    XactSeq of_ring;
    copy_racing(&of_ring, xact_seq_);
    const int count = of_ring == xact_seq ? copy_entries(capacity, copy) : 0;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version_.load(std::memory_order_relaxed) == before) return count;
  }
  return 0;
}

int TrailRing::copy_entries(int capacity, TrailEntry* copy) const {
  const int count = count_.load(std::memory_order_relaxed);
  const int next = next_.load(std::memory_order_relaxed);
  int place = next >= count ? next - count : next - count + capacity;
  for (int i = 0; i < count; i++) {
    copy_racing(&copy[i], entries()[place]);
    place = place + 1 == capacity ? 0 : place + 1;
  }
  return count;
}

int Trail::read(XactSeq xact_seq, TrailEntry* copy) const {
  for (int i = 0; i < kRings; i++) {
    const int count = ring(i)->read(capacity_, xact_seq, copy);
    if (count > 0) return count;
  }
  return 0;
}

}  // namespace pgleak
