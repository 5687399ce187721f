// Owns: acting on open episodes: whether an action may be taken now, writing down the evidence first, and
// what became of it. Called by episodes.cpp, in the scanner. Must never reach a session before the log and
// the queue know of it.
#ifndef PGLEAK_ACTIONS_HPP
#define PGLEAK_ACTIONS_HPP

#include "core/detection.hpp"
#include "core/session.hpp"
#include "look.hpp"

namespace pgleak {

// Memory of this process. May ereport (out of memory).
void prepare_actions();

// Goes on with the action that runs on the open episode of slot `index`, if one does.
void continue_action(int index, Look* look);

// Begins the action that the session's limits demand, or that somebody asks for by hand.
void act_if_due(int index, const SessionSample& sample, const Ages& ages, Look* look);

// True if somebody asks by hand for an action on this very transaction.
bool is_asked_for(int index, SessionId session, Generation generation);

// Tells whoever asks by hand for an action on slot `index` that its session has moved on.
void refuse_request(int index);

// The episode of slot `index` is over: whatever runs there has come to an end.
void forget_actions(int index);

}  // namespace pgleak

#endif
