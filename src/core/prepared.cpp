#include "core/prepared.hpp"

#include "core/text.hpp"

namespace pgleak {

namespace {

using Step = PreparedDecision::Step;

TransactionBlock block_of(const PreparedClocks& clocks) {
  return TransactionBlock{true, clocks.xid, WallTime::none()};
}

void observe(const PreparedSnapshot& snapshot, PreparedClocks* clocks) {
  if (clocks->xid != snapshot.xid) {
    *clocks = PreparedClocks{};
    clocks->xid = snapshot.xid;
    clocks->first_seen = snapshot.now.monotonic;
    clocks->not_before = snapshot.previous_scan;
  }
  clocks->gone_since = MonotonicTime::none();
  if (snapshot.blocks_others)
    clocks->blocking.observe(*snapshot.blocks_others, block_of(*clocks), snapshot.now.monotonic);
}

// Nothing while the recorder may still list it: without that, its real age is not known.
std::optional<Micros> age_of(const PreparedSnapshot& snapshot, PreparedClocks* clocks) {
  const Micros seen_for = snapshot.now.monotonic - clocks->first_seen;
  if (snapshot.listed != nullptr)
    return clocks->prepared.observe(snapshot.listed->prepared_at, snapshot.now, clocks->not_before);
  if (seen_for < kRecorderTimeout) return std::nullopt;
  return seen_for;
}

void check_limit(Clock clock, std::optional<Micros> age, Micros limit, PreparedDecision* decision) {
  Detection& found = decision->detection;
  if (!age || limit == kNever || found.is_leak) return;
  if (*age < limit) {
    decision->next_due_in = sooner(decision->next_due_in, limit - *age);
    return;
  }
  found.is_leak = true;
  found.clock = clock;
  found.age = *age;
  found.limit = limit;
  found.source = LimitSource::kServer;
}

// The waits behind it may have begun before it was prepared, so its age does not bound them.
ImpactSample measure_impact(const PreparedSnapshot& snapshot, std::optional<Micros> blocking) {
  ImpactSample impact = measure(*snapshot.held, snapshot.now.wall, std::nullopt);
  // Waiters that come and go are between two attempts.
  if (blocking) impact.impact = Impact::kBlocking;
  return impact;
}

void consider(const PreparedSnapshot& snapshot, const PreparedLimits& limits, TimeBudget* records,
              PreparedDecision* decision) {
  if (snapshot.xid == 0) {
    decision->clocks = PreparedClocks{};
    return;
  }
  observe(snapshot, &decision->clocks);
  const std::optional<Micros> blocking =
      decision->clocks.blocking.age(block_of(decision->clocks), snapshot.now.monotonic);
  decision->age = age_of(snapshot, &decision->clocks);
  if (!decision->age) return;
  check_limit(Clock::kPrepared, decision->age, limits.prepared, decision);
  if (limits.prepared != kNever)
    check_limit(Clock::kTransaction, decision->age, limits.transaction, decision);
  check_limit(Clock::kBlocking, blocking, limits.blocking, decision);
  if (!decision->detection.is_leak) return;
  decision->needs_held = !snapshot.held;
  if (decision->needs_held || !records->allows(snapshot.place)) return;
  decision->step = Step::kOpen;
  decision->impact = measure_impact(snapshot, blocking);
}

Outcome outcome_of(PreparedFate fate) {
  switch (fate) {
    case PreparedFate::kCommitted:
      return Outcome::kCommitted;
    case PreparedFate::kRolledBack:
      return Outcome::kRolledBack;
    case PreparedFate::kUnknown:
      return Outcome::kUnknown;
    case PreparedFate::kNone:
      break;
  }
  return Outcome::kNone;
}

void follow_gone(const PreparedSnapshot& snapshot, TimeBudget* records, PreparedDecision* decision) {
  MonotonicTime& gone_since = decision->clocks.gone_since;
  if (!gone_since.is_set()) gone_since = snapshot.now.monotonic;
  const Micros left = kRecorderTimeout - (snapshot.now.monotonic - gone_since);
  Outcome outcome = outcome_of(snapshot.fate);
  if (outcome == Outcome::kNone && left <= Micros{0}) outcome = Outcome::kUnknown;
  if (outcome == Outcome::kNone) {
    decision->asks_fate = true;
    decision->next_due_in = left;
    return;
  }
  if (!records->allows(snapshot.place)) return;
  decision->step = Step::kClose;
  decision->outcome = outcome;
}

void follow(const PreparedSnapshot& snapshot, const Episode& episode, TimeBudget* records,
            PreparedDecision* decision) {
  if (snapshot.xid != episode.progress.worst.xid) return follow_gone(snapshot, records, decision);
  observe(snapshot, &decision->clocks);
  decision->needs_held = !snapshot.held;
  if (decision->needs_held) return;
  decision->step = Step::kKeep;
  decision->age = age_of(snapshot, &decision->clocks);
  decision->impact = measure_impact(
      snapshot, decision->clocks.blocking.age(block_of(decision->clocks), snapshot.now.monotonic));
  decision->progress = episode.progress;
  decision->has_begun_to_block = decision->impact.blocked > 0 && episode.progress.worst.blocked == 0;
  if (decision->age) decision->progress.transaction_age = decision->age;
  decision->progress.worst = worst_of(episode.progress.worst, decision->impact);
}

}  // namespace

PreparedDecision decide_prepared(const PreparedSnapshot& snapshot, const Episode* open,
                                 const PreparedLimits& limits, TimeBudget* records) {
  PreparedDecision decision{};
  decision.next_due_in = kForever;
  decision.clocks = snapshot.clocks;
  if (open == nullptr)
    consider(snapshot, limits, records, &decision);
  else
    follow(snapshot, *open, records, &decision);
  return decision;
}

std::int64_t prepared_leak_id(WallTime prepared_at, std::uint32_t xid) {
  return prepared_at.us * 16 + (xid & 15);
}

void write_remedy(const char* gid, char (&text)[kRemedySize]) {
  TextBuffer out(text, sizeof(text));
  bool has_backslash = false;
  for (const char* p = gid; *p != '\0'; p++) has_backslash |= *p == '\\';
  out.append(has_backslash ? "ROLLBACK PREPARED E'" : "ROLLBACK PREPARED '");
  for (const char* p = gid; *p != '\0'; p++) {
    const char byte[] = {*p, '\0'};
    if (*p == '\'' || *p == '\\') out.append(byte);
    out.append(byte);
  }
  out.append("'");
}

}  // namespace pgleak
