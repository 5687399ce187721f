// The server's side of the client connection, libpq/libpq.h.
//
// It includes GSSAPI and OpenSSL headers if the server was built with them, and a machine that only builds
// extensions lacks those headers. The members they add to Port come after the ones used here ("keep struct
// offsets the same", libpq-be.h), so omitting them is safe.
#ifndef PGLEAK_PG_LIBPQ_HPP
#define PGLEAK_PG_LIBPQ_HPP

#include "pg/postgres.hpp"

#undef ENABLE_GSS
#undef ENABLE_SSPI
#undef USE_OPENSSL
#undef USE_SSL

extern "C" {
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
}

#endif
