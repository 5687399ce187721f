#include "actions.hpp"

#include "core/action.hpp"
#include "core/impact.hpp"
#include "server/action_runner.hpp"
#include "server/backend_status.hpp"
#include "server/compat.hpp"
#include "server/event_queue.hpp"
#include "server/leak_log.hpp"
#include "server/postgres.hpp"
#include "server/session_limits.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"

namespace pgleak {

namespace {

// How long a backend that was told to go may take before it is told again.
constexpr Micros kRepeatTerminateAfter = 10 * kSecond;

// How long a session whose query was cancelled may take before the next one is.
constexpr Micros kRepeatCancelAfter = kSecond;

RateLimiter rate_limiter;

template <typename Change>
void change_episode(int index, Change change) {
  session_slots[index].scanner.write([&change](ScannerView* view) { change(&view->episode); });
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
    if (result == ActionResult::kDone && action == Action::kTerminate) episode->is_told_to_go = true;
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
bool take_hand_request(int index, HandRequest* taken) {
  if (shared->hand_requests.load(std::memory_order_acquire) == 0) return false;
  HandRequest& request = session_slots[index].by_hand;
  LWLockAcquire(shared->hand_lock, LW_EXCLUSIVE);
  const bool is_asked = request.phase == HandRequest::Phase::kAsked;
  if (is_asked) {
    request.phase = HandRequest::Phase::kTaken;
    shared->hand_requests--;
    *taken = request;
  }
  LWLockRelease(shared->hand_lock);
  return is_asked;
}

// Tells whoever asked by hand, if anybody did.
void answer_hand_request(int index, ActionResult result) {
  HandRequest& request = session_slots[index].by_hand;
  if (request.phase != HandRequest::Phase::kTaken) return;
  LWLockAcquire(shared->hand_lock, LW_EXCLUSIVE);
  request.phase = HandRequest::Phase::kFree;
  shared->hand_answers[request.ticket % kHandAnswers] = HandAnswer{request.ticket, result};
  LWLockRelease(shared->hand_lock);
  ConditionVariableBroadcast(&shared->hand_answered);
}

// Goes on with the action that runs on slot `index`. It is logged and queued when it is over; what was skipped or
// could not be done safely is tried again, so only the first failure is.
void go_on(int index, Look* look) {
  const Action action = session_slots[index].scanner.current().episode.action.last;
  const ActionResult result = advance_action(index, look->now.monotonic);
  if (result == ActionResult::kRequested) {
    look->next_due_in = Min(look->next_due_in, kActionPollInterval);
    return;
  }
  note_action(index, action, result, look->now);
  count_result(action, result);
  answer_hand_request(index, result);
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (result != ActionResult::kDone && episode.action.failures > 1) return;
  log_action_result(episode, action, result);
  queue_event(EventKind::kActed, index, episode, "");
}

// The evidence is in the log and in the queue before anything reaches the session.
void begin_action(int index, const SessionSample& sample, Action action, const ActionReason& reason,
                  Look* look) {
  const bool is_dry = settings.dry_run && reason.by_role[0] == '\0';
  note_action(index, action, is_dry ? ActionResult::kDryRun : ActionResult::kRequested, look->now);
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (episode.action.failures == 0) {
    log_action(episode, session_slots[index].scanner.current().harm, action, reason, is_dry);
    queue_event(EventKind::kActed, index, episode, "");
  }
  if (is_dry) return;
  start_action(index, episode, sample, action, reason);
  go_on(index, look);
}

bool is_exempt(int index, SessionId session) {
  GuestOwner owner;
  if (!session_slots[index].guest.read_owner(session, &owner)) return true;
  return owner.is_superuser && !settings.act_on_superusers;
}

// True if `action` is neither done already nor to be left alone for now.
bool is_open_for(const Episode& episode, Action action, Look* look) {
  const ActionState& state = episode.action;
  if (state.last != action) return true;
  if (state.result == ActionResult::kDryRun) return !settings.dry_run;
  const Micros pause = state.retry_at - look->now.monotonic;
  if (pause <= 0) return true;
  look->next_due_in = Min(look->next_due_in, pause);
  return false;
}

// True if the leak hurts as much as an action needs. What it does not do yet it may do later: look again
// then.
bool hurts_enough(int index) {
  const int own = session_slots[index].guest.own_action_min_impact();
  const Impact least = own == kMinImpactNotSet ? current_action_min_impact() : static_cast<Impact>(own);
  return session_slots[index].scanner.current().harm.impact >= least;
}

// Right after the start of the server nobody knows yet whom the rules exempt; until then limits act on
// nobody. Not for ever: a recorder that cannot read the rules must not protect a leak. When they are
// published the scanner is woken.
bool know_whom_to_spare(Now now) {
  constexpr Micros kPatience = 60 * kSecond;
  static MonotonicTime first_asked_at = 0;
  static bool has_said_so = false;
  if (are_rules_known()) return true;
  if (first_asked_at == 0) first_asked_at = now.monotonic;
  if (now.monotonic - first_asked_at < kPatience) return false;
  if (!has_said_so)
    ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("pgleak: the rules of pgleak.rules are not known, limits act without them"),
                      errhint("Find out from the log why the pgleak recorder cannot read them.")));
  has_said_so = true;
  return true;
}

bool passes_rate_limit(Look* look) {
  switch (rate_limiter.ask(settings.max_actions_per_minute, look->now.monotonic)) {
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
    if (ages.on[c] == kNotSet || limit == kNever || ages.on[c] < limit) continue;
    reason.clock = clock;
    reason.lasted = ages.on[c];
    reason.limit = limit;
  }
  return reason;
}

void publish_plan(int index, const Plan& plan, Now now) {
  const Action next = plan.due != Action::kNone ? plan.due : plan.next;
  const WallTime at = plan.due != Action::kNone    ? now.wall
                      : plan.next != Action::kNone ? now.wall + plan.next_in
                                                   : 0;
  session_slots[index].scanner.write([next, at](ScannerView* view) {
    view->next_action = next;
    view->next_action_at = at;
  });
}

// Does what the limits demand, if anything.
void act_by_limits(int index, const SessionSample& sample, const Ages& ages, Look* look) {
  SessionSlot& slot = session_slots[index];
  const Episode& episode = slot.scanner.current().episode;
  StatusEntry entry{};
  Limits limits;
  if (read_status(index, &entry) != StatusRead::kDone || entry.id != episode.session ||
      !find_limits(index, entry, ages, look->server_limits, look->now.wall, &limits, &look->next_due_in))
    return;
  const Plan plan = plan_action(ages, limits, sample);
  const bool exempts = is_exempt(index, episode.session) || !know_whom_to_spare(look->now);
  publish_plan(index, exempts ? Plan{Action::kNone, Action::kNone, kForever} : plan, look->now);
  if (exempts) return;

  look->next_due_in = Min(look->next_due_in, plan.next_in);
  if (plan.due == Action::kNone || !is_open_for(episode, plan.due, look) || !hurts_enough(index)) return;
  do_within(&look->actions, index, [&] {
    if (passes_rate_limit(look))
      begin_action(index, sample, plan.due, reason_for(episode, ages, limits, plan.due), look);
  });
}

// Does what somebody asks for by hand; false if nobody does.
bool act_by_hand(int index, const SessionSample& sample, const Ages& ages, Look* look) {
  HandRequest request;
  if (!take_hand_request(index, &request)) return false;
  const Episode& episode = session_slots[index].scanner.current().episode;
  if (request.session != episode.session || request.generation != episode.generation) {
    answer_hand_request(index, ActionResult::kSkipped);
    return true;
  }
  ActionReason reason{};
  reason.leak_id = episode.leak_id;
  reason.clock = is_idle_in_transaction(sample.state) ? Clock::kIdle : Clock::kTransaction;
  reason.lasted = ages.on[static_cast<int>(reason.clock)];
  strlcpy(reason.by_role, request.by_role, kNameSize);
  begin_action(index, sample, request.action, reason, look);
  return true;
}

}  // namespace

void prepare_actions() { prepare_action_runner(); }

void continue_action(int index, Look* look) {
  if (is_action_running(index)) go_on(index, look);
}

void act_if_due(int index, const SessionSample& sample, const Ages& ages, Look* look) {
  if (!act_by_hand(index, sample, ages, look)) act_by_limits(index, sample, ages, look);
}

bool is_asked_for(int index, SessionId session, Generation generation) {
  const HandRequest& request = session_slots[index].by_hand;
  LWLockAcquire(shared->hand_lock, LW_SHARED);
  const bool is_asked = request.phase == HandRequest::Phase::kAsked && request.session == session &&
                        request.generation == generation;
  LWLockRelease(shared->hand_lock);
  return is_asked;
}

void refuse_request(int index) {
  HandRequest request;
  if (take_hand_request(index, &request)) answer_hand_request(index, ActionResult::kSkipped);
}

void forget_actions(int index) {
  drop_action(index);
  answer_hand_request(index, ActionResult::kSkipped);
}

}  // namespace pgleak
