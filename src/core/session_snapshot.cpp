#include "core/session_snapshot.hpp"

namespace pgleak {

std::optional<Limits> find_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs, const Ages& ages,
                                  Micros* next_due_in) {
  const LimitFacts& facts = *snapshot.limits;
  const RuleSet& rules = *inputs.rules;
  if (rules.count == 0) return resolve_limits(facts.own, nullptr, inputs.server_limits);

  if (facts.matches_until != kEndOfTime)
    *next_due_in = sooner(*next_due_in, facts.matches_until - snapshot.now.wall);
  Impact impact = Impact::kNone;
  if (depends_on_impact(rules, facts.matches) &&
      may_be_leak(rules, facts.matches, facts.own, inputs.server_limits, ages, next_due_in)) {
    if (!snapshot.held) return std::nullopt;
    impact = ages.blocking ? Impact::kBlocking : grade(*snapshot.held);
  }
  return choose_limits(rules, facts.matches, facts.own, inputs.server_limits, impact);
}

}  // namespace pgleak
