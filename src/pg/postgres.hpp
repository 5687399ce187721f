// The only inclusion of postgres.h. Every file outside core/ that needs the server includes this before other
// server headers.
//
// C++ headers come before it, because postgres.h turns printf and others into macros, after which a standard
// header that mentions std::printf does not compile.
#ifndef PGLEAK_PG_POSTGRES_HPP
#define PGLEAK_PG_POSTGRES_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

extern "C" {
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
}

#endif
