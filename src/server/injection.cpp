#include "server/injection.hpp"

#ifdef PGLEAK_INJECT

#include "core/time.hpp"
#include "server/compat.hpp"
#include "server/postgres.hpp"
#include "server/worker.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgleak {

namespace {

char* wanted_point = nullptr;

bool is_wanted(const char* point) { return strcmp(wanted_point, point) == 0; }

}  // namespace

void stop_at(const char* point) {
  if (!is_wanted(point)) return;
  ereport(LOG, (errmsg("pgleak injection: stopped at \"%s\"", point)));
  while (is_wanted(point) && !worker_should_stop()) sleep_worker(kSecond, PG_WAIT_EXTENSION);
  ereport(LOG, (errmsg("pgleak injection: going on from \"%s\"", point)));
}

void define_injection_settings() {
  DefineCustomStringVariable("pgleak.stop_at", "Where the scanner stops and waits.", nullptr, &wanted_point,
                             "", PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
}

}  // namespace pgleak

#endif
