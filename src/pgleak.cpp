// Loads the module: defines the settings, reserves shared memory, installs the hooks and registers the two
// workers.
//
// The server calls _PG_init when it preloads libraries, or in a backend that calls one of our functions
// first.

#include "pgleak.hpp"

#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
}

void _PG_init() {
  // Without preloading there is no shared memory and nothing to start; the SQL functions report that when
  // called. pg_upgrade starts servers without extension workers, and a connection of ours would make it fail.
  if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade) return;

  EnableQueryId();  // unless compute_query_id is off: query_id identifies statements without their literals
  pgleak::define_settings();
  pgleak::install_shared_memory_hooks();
  pgleak::install_backend();
  pgleak::install_scanner();
  pgleak::install_recorder();
}
