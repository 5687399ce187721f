// Owns: loading the module: settings, shared memory, hooks, and the two workers.
// Called by the server when it preloads libraries, or when a function of the extension is first called.

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
  // Without preloading there is no shared memory and nothing to start: the functions say so when called.
  // And pg_upgrade runs both servers without extensions' workers: a connection of ours makes it fail.
  if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade) return;

  EnableQueryId();  // unless compute_query_id forbids it: query_id tells statements apart, not their literals
  pgleak::define_settings();
  pgleak::install_shared_memory_hooks();
  pgleak::install_backend();
  pgleak::install_scanner();
  pgleak::install_recorder();
}
