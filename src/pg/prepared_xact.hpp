// The server's prepared transactions, from its own function pg_prepared_xact(): their names are private to
// twophase.c.
#ifndef PGLEAK_PG_PREPARED_XACT_HPP
#define PGLEAK_PG_PREPARED_XACT_HPP

#include <cstdint>

#include "core/time.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pgleak {

struct PreparedXact {
  std::uint32_t xid;
  const char* gid;
  WallTime prepared_at;
  std::uint32_t owner_oid;
  std::uint32_t database_oid;
};

// Reads all of them into memory of the current context; there are at most max_prepared_transactions. Returns
// their number. `context` is that of the calling function, or nullptr. May ereport (out of memory).
int read_prepared_xacts(ExprContext* context, PreparedXact** xacts);

}  // namespace pgleak

#endif
