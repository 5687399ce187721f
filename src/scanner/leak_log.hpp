// The log lines about episodes and actions. One event is one line, which no name and no statement can forge
// or split.
//
// Called by the scanner outside any transaction. Emits LOG messages, nothing worse.
#ifndef PGLEAK_SCANNER_LEAK_LOG_HPP
#define PGLEAK_SCANNER_LEAK_LOG_HPP

#include "core/action.hpp"
#include "core/episode.hpp"
#include "core/tags.hpp"
#include "shmem/action_request.hpp"

namespace pgleak {

// Allocates this process's buffers. Call once. May ereport (out of memory).
void prepare_leak_log();

// Logs that an episode has opened; `age` is the age on the episode's clock. Unless pgleak.log_query is off,
// `statement` goes into the DETAIL, and the route and the place in the source that its tags name into the
// line.
void log_episode_opened(const Episode& episode, Micros age, const char* statement, const Tags& tags);

// Logs that a leak has started to block other sessions; once per episode.
void log_episode_blocking(const Episode& episode, const ImpactSample& impact_now);

// Logs the outcome of an episode that ended `lasted` after its detection; `gid` is what the transaction is
// called if it was prepared, else empty.
void log_episode_ended(const Episode& episode, const char* gid, Outcome outcome, Micros lasted);

// Logs an action before anything is sent, or in a dry run the action that would be taken.
void log_action(const Episode& episode, const ImpactSample& impact_now, Action action,
                const ActionReason& reason, bool is_dry);

// Logs the result of that action; a skipped one at DEBUG1.
void log_action_result(const Episode& episode, Action action, ActionResult result);

// Logs that sessions still wait although the transaction was rolled back, and how to free them.
void log_locks_left(const Episode& episode, const ImpactSample& impact_now);

// The same for prepared transactions, with a HINT that says how to end one. `gid` is empty if it is not
// known; `is_resumed`: the episode was open when the server stopped.
void log_prepared_opened(const Episode& episode, const char* gid, Micros age, bool is_resumed);
void log_prepared_blocking(const Episode& episode, const char* gid, const ImpactSample& impact_now);
void log_prepared_ended(const Episode& episode, const char* gid, Outcome outcome, Micros lasted);

}  // namespace pgleak

#endif
