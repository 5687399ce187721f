// Owns: the tags of a statement as JSON. Called by the recorder and by the live views.
#ifndef PGLEAK_SERVER_TAGS_JSON_HPP
#define PGLEAK_SERVER_TAGS_JSON_HPP

namespace pgleak {

// The tags of `statement` (`length` bytes in `source_encoding`, as the status array holds them) as a JSON
// object of texts, in the encoding of this process's database and in the current memory context; with
// "truncated": true if there may have been more. Always valid JSON, whatever the bytes are. nullptr if there
// are none. Needs a transaction. May ereport (out of memory), not because of the statement.
char* tags_json(const char* statement, int length, int source_encoding);

}  // namespace pgleak

#endif
