// What the rows about pools have in common, in pgleak.pools and pgleak.idle_times. For the files pools.cpp
// and idle_times.cpp. Everything may ereport.
#ifndef PGLEAK_FUNCTIONS_POOL_ROWS_HPP
#define PGLEAK_FUNCTIONS_POOL_ROWS_HPP

#include "functions/functions.hpp"
#include "pg/row.hpp"
#include "shmem/pool_memory.hpp"

extern "C" {
#include "catalog/pg_authid.h"
}

namespace pgleak {

// The states of sessions that are not of one application are for those who may see all.
inline bool may_see_pool(const Pool& pool) {
  return may_see_details(is_of_application(pool.scope) ? pool.who.role_oid : ROLE_PG_READ_ALL_STATS);
}

// The columns database, role, application_name and client_addr.
inline void add_pool_identity(Row* row, const Pool& pool, bool is_visible) {
  if (!is_of_application(pool.scope)) return row->add_nulls(4);
  row->add_foreign_text(pool.who.database, pool.who.encoding);
  row->add_foreign_text(pool.who.role, pool.who.encoding);
  row->add_foreign_text(pool.who.application_name, pool.who.encoding);
  row->add_text(is_visible && pool.who.client_address[0] != '\0' ? pool.who.client_address : nullptr);
}

}  // namespace pgleak

#endif
