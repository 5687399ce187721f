// What the text of a statement says about its transaction: whether it has done anything yet.
//
// Accepts any bytes, and a statement whose end is missing. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_STATEMENT_KIND_HPP
#define PGLEAK_CORE_STATEMENT_KIND_HPP

#include <cstddef>
#include <cstdint>

namespace pgleak {

enum class StatementKind : std::uint8_t {
  kOther,
  kBegin,  // BEGIN, START TRANSACTION, SET TRANSACTION: nothing has run before it in its transaction
  kProbe,  // reads no table and calls no function of anybody: SELECT 1, SHOW, an empty statement
};

StatementKind statement_kind(const char* statement, std::size_t length);

// Bytes for write_first_words(), including the NUL.
inline constexpr std::size_t kFirstWordsSize = 64;

// Writes the beginning of the statement, without comments before it and with one space where there is white
// space, up to the last word that fits, and "..." if there is more.
void write_first_words(const char* statement, std::size_t length, char (&words)[kFirstWordsSize]);

}  // namespace pgleak

#endif
