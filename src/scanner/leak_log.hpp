// Owns: the log lines about episodes. Called by the scanner, which holds no transaction.
// One event is one line that no name or statement can forge or break.
#ifndef PGLEAK_SCANNER_LEAK_LOG_HPP
#define PGLEAK_SCANNER_LEAK_LOG_HPP

#include "core/action.hpp"
#include "core/episode.hpp"
#include "shmem/action_request.hpp"

namespace pgleak {

// Reserves the buffers, once per process. May ereport (out of memory).
void prepare_leak_log();

// Logs that an episode has opened; `age` is what its clock shows. `statement` goes into the DETAIL, and its
// route into the line, unless pgleak.log_query is off. Emits a LOG message, nothing worse.
void log_episode_opened(const Episode& episode, Micros age, const char* statement);

// Logs that a leak which has not done so yet keeps other sessions waiting.
void log_episode_blocking(const Episode& episode, const ImpactSample& impact_now);

// Logs how an episode ended, `lasted` after its detection.
void log_episode_ended(const Episode& episode, Outcome outcome, Micros lasted);

// Logs, before anything is sent, that an action is to be taken, or would be in a dry run.
void log_action(const Episode& episode, const ImpactSample& impact_now, Action action,
                const ActionReason& reason, bool is_dry);

// Logs what became of it.
void log_action_result(const Episode& episode, Action action, ActionResult result);

}  // namespace pgleak

#endif
