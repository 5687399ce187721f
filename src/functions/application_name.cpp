// The C function pgleak.normalize_application_name(). Any session may call it; it reads nothing but its
// argument.

#include "core/application_name.hpp"
#include "functions/functions.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(pgleak_normalize_application_name);
}

Datum pgleak_normalize_application_name(PG_FUNCTION_ARGS) {
  char* const name = text_to_cstring(PG_GETARG_TEXT_PP(0));
  pgleak::normalize_application_name(name);
  PG_RETURN_TEXT_P(cstring_to_text(name));
}
