// Owns: the one inclusion of the server's headers. Every file outside core/ that needs the server includes
// this first of all server things. C++ headers come before it: after postgres.h printf and friends
// are macros, and a standard header that mentions std::printf no longer compiles.
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
