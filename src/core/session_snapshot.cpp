#include "core/session_snapshot.hpp"

namespace pgleak {

namespace {

// grade(held): the impact of what the session holds.
template <typename Grade>
std::optional<Limits> find_limits_by(Grade grade, const SessionSnapshot& snapshot, const ScanInputs& inputs,
                                     const Ages& ages, Micros* next_due_in) {
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

}  // namespace

std::optional<Limits> find_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs, const Ages& ages,
                                  Micros* next_due_in) {
  return find_limits_by(grade, snapshot, inputs, ages, next_due_in);
}

std::optional<Limits> find_certain_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs,
                                          const Ages& ages, Micros* next_due_in) {
  return find_limits_by(certain_grade, snapshot, inputs, ages, next_due_in);
}

}  // namespace pgleak
