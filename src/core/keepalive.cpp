#include "core/keepalive.hpp"

#include "core/statement_kind.hpp"

namespace pgleak {

namespace {

// A statement that was cut may have been anything.
bool is_keepalive(const TrailEntry& entry) {
  return entry.count > 1 && entry.length < kTrailTextSize && entry.idle_before >= Micros{0} &&
         statement_kind(entry.text, entry.length) == StatementKind::kProbe;
}

// Between the two times at which the server notes that a statement begins.
constexpr Micros kSlack{10'000};

}  // namespace

bool has_run_since(const SessionClocks& clocks, const SessionStatus& status) {
  const TransactionBlock block = current_block(status);
  return is_idle_in_transaction(status.state) && clocks.id == status.id && block.exists &&
         clocks.xact_seq == block.xact_seq && clocks.idle.first_sight_at.is_set() &&
         clocks.idle.started_at != status.state_start;
}

void pass_over_keepalive(SessionClocks* clocks, const SessionStatus& status, const TrailEntry& newest) {
  // The statement before it must have ended before the idle time that is measured began.
  const WallTime idle_from = newest.at - newest.idle_before;
  if (is_keepalive(newest) && clocks->idle.started_at >= idle_from - kSlack)
    clocks->idle.carry_over(status.state_start);
}

}  // namespace pgleak
