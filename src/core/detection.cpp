#include "core/detection.hpp"

namespace pgleak {

namespace {

void reset_for(SessionId id, SessionClocks* clocks) {
  if (clocks->id == id) return;
  *clocks = SessionClocks{};
  clocks->id = id;
}

void read_stall(const StallWatch& stall, MonotonicTime now, Ages* ages) {
  ages->idle = stall.age();
  if (ages->idle) ages->idle_check = LastCheck{now - stall.checked_at, stall.next_check_in(now)};
}

// A session is free to be idle until others wait behind it.
void read_idle_holder(Micros idle, Ages* ages) {
  ages->idle = sooner(idle, *ages->blocking);
  if (*ages->blocking < idle) ages->idle_check = ages->blocking_check;
}

}  // namespace

void observe_waiters(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block,
                     std::optional<Waiters> waiters, MonotonicTime now) {
  reset_for(status.id, clocks);
  const TransactionBlock holding = holding_transaction(status, block);
  // A session that runs something in no visible transaction is between two states: what others wait for
  // belongs to a transaction that is just ending.
  const bool shows_holder = holding.exists || status.state == SessionState::kIdle ||
                            (block.exists && is_idle_in_transaction(status.state));
  if (!waiters || (!shows_holder && *waiters != Waiters::kNone)) return;
  clocks->blocking.observe(*waiters != Waiters::kNone, holding, now);
  clocks->certain.observe(*waiters == Waiters::kCertain, holding, now);
}

void observe_session(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block,
                     std::optional<Waiters> waiters, const std::optional<ProgressEvidence>& evidence,
                     bool waits_for_client, MonotonicTime now) {
  observe_waiters(clocks, status, block, waiters, now);
  if (!block.exists || is_idle_in_transaction(status.state))
    clocks->stall.stop();
  else if (!waits_for_client)
    clocks->stall.interrupt(now);
  else if (evidence)
    clocks->stall.observe(*evidence, now);
  else
    clocks->stall.is_interrupted = false;
}

Ages measure_ages(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block, Now now,
                  PreviousScan previous) {
  Ages ages;
  reset_for(status.id, clocks);
  ages.blocking = clocks->blocking.age(holding_transaction(status, block), now.monotonic);
  if (ages.blocking)
    ages.blocking_check = LastCheck{now.monotonic - clocks->blocking.last_seen, kWaiterPollInterval};
  ages.certain_blocking = clocks->certain.age(holding_transaction(status, block), now.monotonic);
  if (ages.certain_blocking)
    ages.certain_check = LastCheck{now.monotonic - clocks->certain.last_seen, kWaiterPollInterval};
  if (is_idle_in_transaction(status.state))
    ages.idle = clocks->idle.observe(status.state_start, now, previous.at_idle);
  else if (block.exists)
    read_stall(clocks->stall, now.monotonic, &ages);
  else if (status.state == SessionState::kIdle && ages.blocking)
    read_idle_holder(clocks->idle.observe(status.state_start, now, MonotonicTime::none()), &ages);
  // The transactions of one message, one CALL or one VACUUM all show the start of the statement. So each has
  // a clock of its own, bounded by the scan that still saw the previous one.
  if (block.exists && block.xact_seq > clocks->xact_seq) {
    clocks->transaction = Stopwatch{};
    clocks->xact_seq = block.xact_seq;
  }
  // A session that is idle and yet in a transaction shows the start of one that has ended.
  if (block.exists && block.xact_start.is_set() && status.state != SessionState::kIdle)
    ages.transaction = clocks->transaction.observe(block.xact_start, now, previous.at_transaction);
  return ages;
}

Detection detect_leak(const Ages& ages, const Limits& limits) {
  Detection found{};
  found.next_due_in = kForever;

  for (int c = 0; c < kClockCount; c++) {
    const Clock clock = static_cast<Clock>(c);
    const std::optional<Micros> age = ages.of(clock);
    if (!age) continue;

    for (int k = 0; k < kLimitKindCount; k++) {
      const LimitKind kind = static_cast<LimitKind>(k);
      const Micros after = limits.after(clock, kind);
      if (after == kNever) continue;
      if (*age < after) {
        found.next_due_in = sooner(found.next_due_in, ages.due_in(clock, *age, after));
      } else if (kind == LimitKind::kLeak && !found.is_leak) {
        found.is_leak = true;
        found.clock = clock;
        found.age = *age;
        found.limit = after;
        found.source = limits.leak_source(clock);
        found.rule_id = limits.rule_id;
      }
    }
  }
  return found;
}

}  // namespace pgleak
