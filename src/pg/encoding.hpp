// Makes text from any database valid in the database of this process. Invalid bytes are replaced; they never
// cause an error.
#ifndef PGLEAK_PG_ENCODING_HPP
#define PGLEAK_PG_ENCODING_HPP

namespace pgleak {

// Returns `text` (`length` bytes in `source_encoding`, whose last character may be incomplete) in the
// encoding of this process's database, NUL-terminated, allocated in the current memory context. What is
// invalid or has no equivalent becomes U+FFFD, or '?' if that does not exist. Needs a transaction. May
// ereport (out of memory), but never because of the text.
char* to_database_encoding(const char* text, int length, int source_encoding);

// The encoding of a database; that of this process's database for one that does not exist.
int encoding_of_database(unsigned int database);

}  // namespace pgleak

#endif
