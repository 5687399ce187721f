#include "pool_errands.hpp"

#include "server/change_watch.hpp"
#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/connection_limits.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"
#include "server/transaction.hpp"
#include "server/verdict_notifier.hpp"
#include "server/worker.hpp"

extern "C" {
#include "access/xlog.h"
#include "pgstat.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 30000;
constexpr Micros kLimitsInterval = 5 * kSecond;
constexpr Micros kPauseAfterError = 5 * kSecond;

// True if it was committed.
template <typename Body>
bool run_errand(MemoryContext context, Body body) {
  set_interruptible(true);
  ErrorData* error = run_in_transaction(context, kTimeoutMs, [&body] {
    body();
    set_interruptible(false);
  });
  set_interruptible(false);
  pgstat_report_stat(true);
  if (error != nullptr)
    ereport(DEBUG1, (errcode(error->sqlerrcode), errmsg("pgleak recorder: could not serve pools: %s",
                                                        error->message != nullptr ? error->message : "")));
  return error == nullptr;
}

void look_up_limits(MemoryContext context) {
  static MonotonicTime due_at = 0;
  static ChangeWatch catalogs{};
  static std::uint64_t known = 0;  // as many pools had begun when all was well last
  const MonotonicTime now = monotonic_now();
  if (now < due_at) return;
  due_at = now + kLimitsInterval;
  const std::uint64_t begun = shared->pools.begun.load(std::memory_order_acquire);
  if (!may_find_news(&catalogs, now) && begun == known) return;
  known = run_errand(context, [] { publish_connection_limits(); }) ? begun : 0;
}

void send_notifications(MemoryContext context) {
  static MonotonicTime retry_at = 0;
  NoticeQueue& notices = shared->pools.notices;
  const std::uint64_t waiting = notices.waiting();
  const MonotonicTime now = monotonic_now();
  if (waiting == 0 || now < retry_at || RecoveryInProgress()) return;
  if (!settings.notify || run_errand(context, [waiting] { notify_verdicts(waiting); }))
    notices.finish_oldest(waiting);
  else
    retry_at = now + kPauseAfterError;
}

}  // namespace

void run_pool_errands(MemoryContext context) {
  look_up_limits(context);
  send_notifications(context);
}

}  // namespace pgleak
