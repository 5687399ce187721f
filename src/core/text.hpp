// Builds text in fixed buffers, for log lines that nobody can forge.
//
// Allocates nothing, knows no server encoding, never ereports.
#ifndef PGLEAK_CORE_TEXT_HPP
#define PGLEAK_CORE_TEXT_HPP

#include <cstddef>
#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// A NUL-terminated string that grows in the caller's buffer. The first piece that does not fit is truncated,
// never within a character or an escape sequence, and later pieces are dropped.
class TextBuffer {
 public:
  // `size` >= 1, in bytes, including the terminating NUL.
  TextBuffer(char* buffer, std::size_t size) : buffer_(buffer), size_(size), length_(0), is_full_(false) {
    buffer_[0] = '\0';
  }

  const char* c_str() const { return buffer_; }
  std::size_t length() const { return length_; }

  void append(const char* text);
  void append_number(std::int64_t number);

  // "2s", "2.003s": seconds with at most three decimals and no trailing zeros.
  void append_seconds(Micros duration);

  // Appends `text` with every control character, and every byte that is not part of a valid UTF-8 character,
  // as \n, \r, \t or \xNN, and with backslashes doubled. So one line stays one line, and nothing controls the
  // terminal that shows the log. Escapes quotes too if `quoted`.
  void append_escaped(const char* text, bool quoted);

  // Appends key=value in logfmt: `value` escaped, and in double quotes if it is empty or contains a space, a
  // quote, a backslash, an equals sign or anything that needs escaping.
  void append_pair(const char* key, const char* value);

 private:
  // Appends all bytes, or none if they or an earlier piece did not fit; then returns false.
  bool append_whole(const char* bytes, std::size_t count);

  char* buffer_;
  std::size_t size_;
  std::size_t length_;
  bool is_full_;
};

// Length in bytes (1 to 4) of the valid UTF-8 character at the start of `text`, or 0 if there is none (RFC
// 3629: no overlong forms, no surrogates, nothing above U+10FFFF). Stops at the first invalid byte, so it
// never reads past a terminating NUL.
int utf8_character_length(const char* text);

}  // namespace pgleak

#endif
