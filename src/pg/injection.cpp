#include "pg/injection.hpp"

#include <algorithm>
#include <ctime>

#include "core/time.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/worker.hpp"

#ifdef PGLEAK_INJECTION

extern "C" {
#include "utils/guc.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr int kMostTimedScans = 1000;
constexpr Size kMoreThanAllCaches = Size{128} << 20;
constexpr Size kCacheLine = 64;

char* wanted_point = nullptr;
int timed_scans = 0;

// The timed scans: one to warm up, then those with warm caches, then those with cold ones.
struct {
  int begun;
  std::int64_t began_at;  // ns
  std::int64_t lasted[2][kMostTimedScans];
} stopwatch;

bool is_wanted(const char* point) { return strcmp(wanted_point, point) == 0; }

std::int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64CONST(1000000000) + now.tv_nsec;
}

// Evicts everything else from the caches by writing to more memory than they hold.
void fill_caches() {
  static volatile char* const memory =
      static_cast<char*>(MemoryContextAllocHuge(TopMemoryContext, kMoreThanAllCaches));
  for (Size i = 0; i < kMoreThanAllCaches; i += kCacheLine) memory[i]++;
}

long long median_ns(std::int64_t* lasted) {
  std::nth_element(lasted, lasted + timed_scans / 2, lasted + timed_scans);
  return lasted[timed_scans / 2];
}

}  // namespace

void stop_at(const char* point) {
  if (!is_wanted(point)) return;
  ereport(LOG, (errmsg("pgleak injection: stopped at \"%s\"", point)));
  while (is_wanted(point) && !worker_should_stop()) sleep_worker(kSecond, PG_WAIT_EXTENSION);
  ereport(LOG, (errmsg("pgleak injection: continuing from \"%s\"", point)));
}

bool times_another_scan() {
  if (timed_scans == 0) return false;
  const int ended = stopwatch.begun - 2;  // of the scans that count, which the warm-up is not
  if (ended >= 0) stopwatch.lasted[ended / timed_scans][ended % timed_scans] = now_ns() - stopwatch.began_at;
  if (ended + 1 == 2 * timed_scans) {
    stopwatch.begun = 0;
    ereport(LOG, (errmsg("pgleak injection: scans took %lld ns, with cold caches %lld ns",
                         median_ns(stopwatch.lasted[0]), median_ns(stopwatch.lasted[1]))));
    return false;
  }
  if (stopwatch.begun > timed_scans) fill_caches();
  stopwatch.begun++;
  stopwatch.began_at = now_ns();
  return true;
}

void define_injection_settings() {
  DefineCustomStringVariable("pgleak.stop_at", "Sets the place at which the scanner stops and waits.",
                             nullptr, &wanted_point, "", PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.timed_scans",
                          "Sets the number of scans that the scanner times when it is woken.", nullptr,
                          &timed_scans, 0, 0, kMostTimedScans, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
}

}  // namespace pgleak

#endif
