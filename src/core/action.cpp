
#include "core/action.hpp"

#include <initializer_list>

#include "core/text.hpp"

namespace pgleak {

namespace {

constexpr Micros kMinute = 60 * kSecond;

// A plain aborted block, whether an error or pgleak aborted it, has nothing left to cancel. Neither has a
// session that delivers notifications while it is idle: it reacts to a terminate only.
bool can_be_cancelled(const SessionStatus& status, bool is_session_level) {
  return status.xact_start.is_set() && status.state != SessionState::kIdle && !is_session_level;
}

}  // namespace

const char* to_string(Action action) {
  switch (action) {
    case Action::kNone:
      return nullptr;
    case Action::kCancel:
      return "cancel";
    case Action::kTerminate:
      return "terminate";
  }
  return nullptr;
}

const char* to_string(ActionResult result) {
  switch (result) {
    case ActionResult::kNone:
      return nullptr;
    case ActionResult::kRequested:
      return "requested";
    case ActionResult::kDone:
      return "done";
    case ActionResult::kDryRun:
      return "dry run";
    case ActionResult::kSkipped:
      return "skipped";
    case ActionResult::kUnsafe:
      return "not possible safely";
    case ActionResult::kNoEffect:
      return "no effect";
    case ActionResult::kNoEffectOnClientWait:
      return "no effect: waits for its client";
    case ActionResult::kStandby:
      return "waits for a synchronous standby";
  }
  return nullptr;
}

Plan plan_action(const Ages& ages, const Limits& limits, const SessionStatus& status, bool is_session_level) {
  Plan plan{Action::kNone, Action::kNone, kForever, kForever};
  for (int c = 0; c < kClockCount; c++) {
    const Clock clock = static_cast<Clock>(c);
    const std::optional<Micros> age = ages.of(clock);
    if (!age || !may_demand_action(clock, is_session_level)) continue;
    for (const Action action : {Action::kCancel, Action::kTerminate}) {
      if (action == Action::kCancel && !can_be_cancelled(status, is_session_level)) continue;
      const LimitKind kind = action == Action::kCancel ? LimitKind::kCancel : LimitKind::kTerminate;
      const Micros after = limits.after(clock, kind);
      if (after == kNever) continue;
      if (*age >= after) {
        if (action > plan.due) plan.due = action;
        continue;
      }
      plan.next_due_in = sooner(plan.next_due_in, ages.due_in(clock, *age, after));
      if (after - *age >= plan.next_in) continue;
      plan.next = action;
      plan.next_in = after - *age;
    }
  }
  return plan;
}

bool has_failed(ActionResult result) {
  return result == ActionResult::kSkipped || result == ActionResult::kUnsafe || had_no_effect(result);
}

bool had_no_effect(ActionResult result) {
  return result == ActionResult::kNoEffect || result == ActionResult::kNoEffectOnClientWait;
}

Micros retry_pause(ActionResult result, std::uint8_t failures) {
  const Micros longest = had_no_effect(result) ? kMinute : 30 * kSecond;
  Micros pause = had_no_effect(result) ? kSecond : 50 * kMillisecond;
  for (std::uint8_t i = 1; i < failures && pause < longest; i++) pause *= 2;
  return pause < longest ? pause : longest;
}

RateLimiter::Answer RateLimiter::ask(std::int32_t most, MonotonicTime now) {
  const bool has_changed = most != most_before;
  most_before = most;
  if (closed_until > now && !has_changed) return Answer::kNo;
  if (has_changed || closed_until.is_set() || !window_start.is_set() || now - window_start >= kMinute) {
    window_start = now;
    count = 0;
    closed_until = MonotonicTime::none();
  }
  if (count < most) {
    count++;
    return Answer::kYes;
  }
  closed_until = now + kMinute;
  return Answer::kNoAndSayIt;
}

void describe_hold(const ActionHold& hold, char (&text)[kHoldSize]) {
  TextBuffer out(text, sizeof(text));
  switch (hold.reason) {
    case HoldReason::kNone:
      break;
    case HoldReason::kSuperuser:
      out.append("superuser");
      break;
    case HoldReason::kDeclared:
      out.append("declared idle on purpose");
      break;
    case HoldReason::kStandby:
      out.append("synchronous standby");
      break;
    case HoldReason::kDebris:
      out.append("would leave an invalid object");
      break;
    case HoldReason::kWaitsBehind:
      out.append(hold.root_pid != 0 ? "waits behind pid " : "waits behind a prepared transaction");
      if (hold.root_pid != 0) out.append_number(hold.root_pid);
      break;
    case HoldReason::kGuess:
      out.append("holder is a guess");
      break;
    case HoldReason::kRulesNotLoaded:
      out.append("rules not loaded");
      break;
    case HoldReason::kImpact:
      out.append("impact below ");
      out.append(to_string(hold.min_impact));
      break;
    case HoldReason::kDryRun:
      out.append("dry run");
      break;
    case HoldReason::kRateLimit:
      out.append("rate limit until ");
      break;
  }
}

void describe_source(const ActionSource& source, char (&text)[kActionSourceSize]) {
  TextBuffer out(text, sizeof(text));
  out.append(name_of(source.kind, source.rule_id).text);
  if (source.kind != LimitSource::kManual) return;
  out.append(" by ");
  out.append_escaped(source.by_login, false);
}

void describe_result(const ActionState& state, char (&text)[kResultSize]) {
  TextBuffer out(text, sizeof(text));
  const char* const result = to_string(state.result);
  if (result != nullptr) out.append(result);
  if (state.result != ActionResult::kDone || state.still_blocks == 0) return;
  out.append(", still blocks ");
  out.append_number(state.still_blocks);
}

void describe_reason(const ActionReason& reason, char (&text)[kReasonSize]) {
  TextBuffer out(text, sizeof(text));
  switch (reason.clock) {
    case Clock::kIdle:
      out.append("it was idle for ");
      break;
    case Clock::kTransaction:
      out.append("it was open for ");
      break;
    case Clock::kBlocking:
      out.append("it kept others waiting for ");
      break;
    case Clock::kPrepared:  // nothing acts on it
      break;
  }
  out.append_seconds(reason.lasted);
  if (reason.limit != kNever) {
    out.append(", the limit is ");
    out.append_seconds(reason.limit);
  }
  if (reason.source.kind == LimitSource::kManual) {
    out.append(", at the request of role \"");
    out.append_escaped(reason.source.by_login, true);
    out.append("\"");
  }
}

}  // namespace pgleak
