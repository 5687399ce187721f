// Parts of an application_name: its words, and what differs there in each process.
//
// Used by core/application_name. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_NAME_PART_HPP
#define PGLEAK_CORE_NAME_PART_HPP

#include <cstddef>

namespace pgleak {

// Kinds of characters.
using IsKind = bool (*)(char);
bool is_decimal(char c);
bool is_hex(char c);
bool is_word(char c);  // letters and digits; bytes beyond ASCII are parts of letters
bool is_host(char c);

// How many characters at the start of the text are of a kind, or whether all are.
std::size_t length_of(const char* text, IsKind is_kind);
bool is_all(const char* text, std::size_t length, IsKind is_kind);

bool starts_with(const char* text, const char* prefix);

// True if the name up to `end` ends with `word`, which is in small letters, in small or capital letters.
bool ends_with(const char* name, std::size_t end, const char* word);

// The length of four numbers of at most 255 at the start of the text, as in an IPv4 address, if no word goes
// on behind them; otherwise 0.
std::size_t four_octets(const char* text, char separator);

// The length of what differs in each process in the word that begins at `at` and maybe some that follow; 0 if
// nothing does.
std::size_t changing_part(const char* name, std::size_t at);

}  // namespace pgleak

#endif
