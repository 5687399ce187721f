#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "pg/transaction.hpp"
#include "recorder/recorder.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xlog.h"
#include "utils/fmgroids.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 5000;

// The server first removes what everybody has read, which writes to files: nothing for the scanner.
float read_queue_usage(MemoryContext context) {
  float usage = kUnknownUsage;
  const ErrorData* const error = run_in_transaction(context, kTimeoutMs, [&usage] {
    usage = static_cast<float>(DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)));
  });
  if (error == nullptr) return usage;
  ereport(DEBUG1, (errmsg_internal("pgleak: could not read the usage of the notification queue: %s",
                                   error->message)));
  return kUnknownUsage;
}

}  // namespace

void maintain_queue_usage(MemoryContext context) {
  static MonotonicTime read_at{};
  Assert(is_recorder());
  if (!shared->wants_queue_usage.load(std::memory_order_relaxed) || RecoveryInProgress()) {
    shared->notify_queue_usage.store(kUnknownUsage, std::memory_order_relaxed);
    return;
  }
  const MonotonicTime now = monotonic_now();
  if (read_at.is_set() && now - read_at < kSecond) return;
  read_at = now;
  shared->notify_queue_usage.store(read_queue_usage(context), std::memory_order_relaxed);
}

}  // namespace pgleak
