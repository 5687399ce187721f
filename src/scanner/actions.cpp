#include "scanner/actions.hpp"

#include "core/action.hpp"
#include "core/impact.hpp"
#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "scanner/leak_log.hpp"
#include "scanner/session_limits.hpp"
#include "shmem/event_queue.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

namespace {

// How long a backend that was told to go may take before it is told again.
constexpr Micros kRepeatTerminateAfter = 10 * kSecond;

// How long a session whose query was cancelled may take before the next one is.
constexpr Micros kRepeatCancelAfter = kSecond;

RateLimiter rate_limiter;

template <typename Change>
void change_episode(int index, Change change) {
  session_slots[index].scanner.write([&change](SessionRecord* view) { change(&view->episode); });
}

// Writes down what has become of an action, for everybody to see.
void note_action(int index, Action action, ActionResult result, Now now) {
  change_episode(index, [action, result, now](Episode* episode) {
    ActionState& state = episode->action;
    if (state.last != action) state.failures = 0;
    state.last = action;
    state.result = result;
    state.at = now.wall;
    const bool has_failed = result == ActionResult::kSkipped || result == ActionResult::kUnsafe;
    if (has_failed && state.failures < UINT8_MAX) state.failures++;
    // A backend that was told to go may take its time; one that does not go is told again. An active session
    // whose query was cancelled may have caught that in a savepoint and go on.
    const Micros repeat_after = action == Action::kCancel ? kRepeatCancelAfter : kRepeatTerminateAfter;
    const Micros pause = result == ActionResult::kDone ? repeat_after : retry_pause(state.failures);
    state.retry_at = now.monotonic + pause;
    if (result == ActionResult::kDone && action == Action::kCancel) episode->is_cancelled = true;
    if (result == ActionResult::kDone && action == Action::kTerminate) episode->terminate_sent = true;
  });
}

void count_result(Action action, ActionResult result) {
  Counters& counters = shared->counters;
  if (result == ActionResult::kDone)
    (action == Action::kCancel ? counters.cancels : counters.terminates)++;
  else if (result == ActionResult::kSkipped)
    counters.skipped++;
  else if (result == ActionResult::kUnsafe)
    counters.cancels_failed++;
}

// The request of somebody who asks by hand for an action on the session of slot `index`, if there is one; it
// is taken then.
bool take_manual_request(int index, ManualRequest* taken) {
  if (shared->manual_requests.load(std::memory_order_acquire) == 0) return false;
  ManualRequest& request = session_slots[index].manual;
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  const bool is_asked = request.phase == ManualRequest::Phase::kAsked;
  if (is_asked) {
    request.phase = ManualRequest::Phase::kTaken;
    shared->manual_requests--;
    *taken = request;
  }
  LWLockRelease(shared->manual_lock);
  return is_asked;
}

// Tells whoever asked by hand, if anybody did.
void answer_manual_request(int index, ActionResult result) {
  ManualRequest& request = session_slots[index].manual;
  if (request.phase != ManualRequest::Phase::kTaken) return;
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  request.phase = ManualRequest::Phase::kFree;
  shared->manual_answers[request.request_id % kManualAnswers] = ManualAnswer{request.request_id, result};
  LWLockRelease(shared->manual_lock);
  ConditionVariableBroadcast(&shared->manual_answered);
}

// Goes on with the action that runs on slot `index`. It is logged and queued when it is over; what was
// skipped or could not be done safely is tried again, so only the first failure is.
void go_on(int index, ScanContext* scan) {
  const Action action = session_slots[index].scanner.current().episode.action.last;
  const ActionResult result = advance_action(index, scan->now.monotonic);
  if (result == ActionResult::kRequested) {
    scan->next_due_in = Min(scan->next_due_in, kActionPollInterval);
    return;
  }
  note_action(index, action, result, scan->now);
  count_result(action, result);
  answer_manual_request(index, result);
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (result != ActionResult::kDone && episode.action.failures > 1) return;
  log_action_result(episode, action, result);
  queue_event(EventKind::kActed, index, episode, "");
}

// The evidence is in the log and in the queue before anything reaches the session.
void begin_action(int index, const SessionStatus& sample, Action action, const ActionReason& reason,
                  ScanContext* scan) {
  const bool is_dry = settings.dry_run && reason.by_role[0] == '\0';
  note_action(index, action, is_dry ? ActionResult::kDryRun : ActionResult::kRequested, scan->now);
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (episode.action.failures == 0) {
    log_action(episode, session_slots[index].scanner.current().impact_now, action, reason, is_dry);
    queue_event(EventKind::kActed, index, episode, "");
  }
  if (is_dry) return;
  start_action(index, episode, sample, action, reason);
  go_on(index, scan);
}

bool is_exempt(int index, SessionId session) {
  BackendOwner owner;
  if (!session_slots[index].backend.read_owner(session, &owner)) return true;
  return owner.is_superuser && !settings.act_on_superusers;
}

// True if `action` is neither done already nor to be left alone for now.
bool is_open_for(const Episode& episode, Action action, ScanContext* scan) {
  const ActionState& state = episode.action;
  if (state.last != action) return true;
  if (state.result == ActionResult::kDryRun) return !settings.dry_run;
  const Micros pause = state.retry_at - scan->now.monotonic;
  if (pause <= Micros{0}) return true;
  scan->next_due_in = Min(scan->next_due_in, pause);
  return false;
}

// True if the leak hurts as much as an action needs. What it does not do yet it may do later: look again
// then.
bool meets_min_impact(int index) {
  const Impact least =
      session_slots[index].backend.own_action_min_impact().value_or(current_action_min_impact());
  return session_slots[index].scanner.current().impact_now.impact >= least;
}

// Right after the start of the server nobody knows yet whom the rules exempt; until then limits act on
// nobody. Not for ever: a recorder that cannot read the rules must not protect a leak. When they are
// published the scanner is woken.
bool rules_are_loaded(Now now) {
  constexpr Micros kTimeout = 60 * kSecond;
  static MonotonicTime first_asked_at{};
  static bool has_said_so = false;
  if (rules_are_published()) return true;
  if (!first_asked_at.is_set()) first_asked_at = now.monotonic;
  if (now.monotonic - first_asked_at < kTimeout) return false;
  if (!has_said_so)
    ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("pgleak: the rules of pgleak.rules are not known, limits act without them"),
                      errhint("Find out from the log why the pgleak recorder cannot read them.")));
  has_said_so = true;
  return true;
}

bool passes_rate_limit(ScanContext* scan) {
  switch (rate_limiter.ask(settings.max_actions_per_minute, scan->now.monotonic)) {
    case RateLimiter::Answer::kYes:
      return true;
    case RateLimiter::Answer::kNoAndSayIt:
      ereport(
          WARNING,
          (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
           errmsg("pgleak: more than %d actions within a minute, no more for a minute",
                  settings.max_actions_per_minute),
           errhint("Find out why so many sessions leak; \"pgleak.max_actions_per_minute\" is the limit.")));
      return false;
    case RateLimiter::Answer::kNo:
      return false;
  }
  return false;
}

ActionReason reason_for(const Episode& episode, const Ages& ages, const Limits& limits, Action action) {
  const LimitKind kind = action == Action::kCancel ? LimitKind::kCancel : LimitKind::kTerminate;
  ActionReason reason{};
  reason.leak_id = episode.leak_id;
  for (int c = kClockCount - 1; c >= 0; c--) {
    const Clock clock = static_cast<Clock>(c);
    const Micros limit = limits.after(clock, kind);
    const std::optional<Micros> age = ages.of(clock);
    if (!age || limit == kNever || *age < limit) continue;
    reason.clock = clock;
    reason.lasted = *age;
    reason.limit = limit;
  }
  return reason;
}

void publish_plan(int index, const Plan& plan, Now now) {
  const Action next = plan.due != Action::kNone ? plan.due : plan.next;
  const WallTime at = plan.due != Action::kNone    ? now.wall
                      : plan.next != Action::kNone ? now.wall + plan.next_in
                                                   : WallTime::none();
  session_slots[index].scanner.write([next, at](SessionRecord* view) {
    view->next_action = next;
    view->next_action_at = at;
  });
}

// Does what the limits demand, if anything.
void act_by_limits(int index, const SessionStatus& sample, const Ages& ages, ScanContext* scan) {
  SessionSlot& slot = session_slots[index];
  const Episode& episode = slot.scanner.current().episode;
  StatusEntry entry{};
  Limits limits;
  if (read_status(index, &entry) != StatusRead::kDone || entry.id != episode.session ||
      !find_limits(index, entry, ages, scan->server_limits, scan->now.wall, &limits, &scan->next_due_in))
    return;
  const Plan plan = plan_action(ages, limits, sample);
  const bool exempts = is_exempt(index, episode.session) || !rules_are_loaded(scan->now);
  publish_plan(index, exempts ? Plan{Action::kNone, Action::kNone, kForever} : plan, scan->now);
  if (exempts) return;

  scan->next_due_in = Min(scan->next_due_in, plan.next_in);
  if (plan.due == Action::kNone || !is_open_for(episode, plan.due, scan) || !meets_min_impact(index)) return;
  do_within(&scan->actions, index, [&] {
    if (passes_rate_limit(scan))
      begin_action(index, sample, plan.due, reason_for(episode, ages, limits, plan.due), scan);
  });
}

// Does what somebody asks for by hand; false if nobody does.
bool act_by_hand(int index, const SessionStatus& sample, const Ages& ages, ScanContext* scan) {
  ManualRequest request;
  if (!take_manual_request(index, &request)) return false;
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (request.session != episode.session || request.xact_seq != episode.xact_seq) {
    answer_manual_request(index, ActionResult::kSkipped);
    return true;
  }
  ActionReason reason{};
  reason.leak_id = episode.leak_id;
  reason.clock = is_idle_in_transaction(sample.state) ? Clock::kIdle : Clock::kTransaction;
  reason.lasted = ages.of(reason.clock).value_or(Micros{0});
  strlcpy(reason.by_role, request.by_role, kNameSize);
  begin_action(index, sample, request.action, reason, scan);
  return true;
}

}  // namespace

void prepare_actions() { prepare_action_runner(); }

void continue_action(int index, ScanContext* scan) {
  if (is_action_running(index)) go_on(index, scan);
}

void act_if_due(int index, const SessionStatus& sample, const Ages& ages, ScanContext* scan) {
  if (!act_by_hand(index, sample, ages, scan)) act_by_limits(index, sample, ages, scan);
}

bool is_asked_for(int index, SessionId session, XactSeq xact_seq) {
  const ManualRequest& request = session_slots[index].manual;
  LWLockAcquire(shared->manual_lock, LW_SHARED);
  const bool is_asked = request.phase == ManualRequest::Phase::kAsked && request.session == session &&
                        request.xact_seq == xact_seq;
  LWLockRelease(shared->manual_lock);
  return is_asked;
}

void refuse_request(int index) {
  ManualRequest request;
  if (take_manual_request(index, &request)) answer_manual_request(index, ActionResult::kSkipped);
}

void forget_actions(int index) {
  drop_action(index);
  answer_manual_request(index, ActionResult::kSkipped);
}

}  // namespace pgleak
