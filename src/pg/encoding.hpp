// Owns: making text from any database valid in the database of this process.
// Called by the recorder and by the live views. Bad bytes are replaced, never an error.
#ifndef PGLEAK_PG_ENCODING_HPP
#define PGLEAK_PG_ENCODING_HPP

namespace pgleak {

// Returns `text` (`length` bytes in `source_encoding`, perhaps cut in the middle of its last character) in
// the encoding of this process's database, NUL-terminated, in the current memory context. What is invalid or
// has no equivalent becomes U+FFFD, or '?' where that does not exist. Needs a transaction. May ereport (out
// of memory), not because of the text.
char* to_database_encoding(const char* text, int length, int source_encoding);

}  // namespace pgleak

#endif
