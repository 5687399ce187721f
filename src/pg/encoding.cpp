#include "pg/encoding.hpp"

#include "pg/postgres.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

void append_replacement(StringInfo out, int encoding) {
  appendStringInfoString(out, encoding == PG_UTF8 ? "\xEF\xBF\xBD" : "?");
}

bool is_ascii(const char* text, int length) {
  for (int i = 0; i < length; i++)
    if (IS_HIGHBIT_SET(text[i])) return false;
  return true;
}

// Length in bytes of the valid character at `text`; 1 if there is none.
int skip_length(int encoding, const char* text, int remaining) {
  const int length = pg_encoding_verifymbchar(encoding, text, remaining);
  return length > 0 ? length : 1;
}

// Appends `text`, replacing what is not valid in `encoding`.
void append_valid(StringInfo out, int encoding, const char* text, int length) {
  while (length > 0) {
    const int valid = pg_encoding_verifymbstr(encoding, text, length);
    appendBinaryStringInfo(out, text, valid);
    text += valid;
    length -= valid;
    if (length > 0) {
      append_replacement(out, encoding);
      text++;
      length--;
    }
  }
}

// For two encodings without a conversion, which share ASCII only.
void append_ascii(StringInfo out, int target, const char* text, int length) {
  for (int i = 0; i < length; i++) {
    if (IS_HIGHBIT_SET(text[i]))
      append_replacement(out, target);
    else
      appendStringInfoChar(out, text[i]);
  }
}

void append_converted(StringInfo out, Oid conversion, int source, int target, const char* text, int length) {
  const int room = length * MAX_CONVERSION_GROWTH + 1;
  unsigned char* buffer = static_cast<unsigned char*>(palloc(static_cast<Size>(room)));
  while (length > 0) {
    unsigned char* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(text));
    const int done =
        pg_do_encoding_conversion_buf(conversion, source, target, bytes, length, buffer, room, true);
    appendStringInfoString(out, reinterpret_cast<char*>(buffer));
    text += done;
    length -= done;
    if (length > 0) {
      const int skipped = skip_length(source, text, length);
      append_replacement(out, target);
      text += skipped;
      length -= skipped;
    }
  }
  pfree(buffer);
}

}  // namespace

char* to_database_encoding(const char* text, int length, int source_encoding) {
  // The common case: most names are ASCII, which is the same in every database encoding.
  if (is_ascii(text, length)) return pnstrdup(text, static_cast<Size>(length));

  const int target = GetDatabaseEncoding();
  const bool is_known = PG_VALID_BE_ENCODING(source_encoding);
  if (is_known) length = pg_encoding_mbcliplen(source_encoding, text, length, length);

  StringInfoData out;
  initStringInfo(&out);
  // SQL_ASCII says nothing about its bytes; the best guess is that they are in the target's encoding.
  if (!is_known || source_encoding == target || source_encoding == PG_SQL_ASCII || target == PG_SQL_ASCII) {
    append_valid(&out, target, text, length);
    return out.data;
  }
  const Oid conversion = FindDefaultConversionProc(source_encoding, target);
  if (OidIsValid(conversion))
    append_converted(&out, conversion, source_encoding, target, text, length);
  else
    append_ascii(&out, target, text, length);
  return out.data;
}

int encoding_of_database(unsigned int database) {
  if (database == InvalidOid || database == MyDatabaseId) return GetDatabaseEncoding();
  HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (!HeapTupleIsValid(tuple)) return GetDatabaseEncoding();
  const int encoding = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->encoding;
  ReleaseSysCache(tuple);
  return encoding;
}

}  // namespace pgleak
