// Owns: the life of episodes: opening them, following them, acting on them, closing them, with the log line
// and the event that belong to each step. Called by scanner.cpp for one slot at a time. Must touch nothing
// but shared memory and the log.
#ifndef PGLEAK_EPISODES_HPP
#define PGLEAK_EPISODES_HPP

#include "look.hpp"

namespace pgleak {

// Memory of this process; finds the episodes that an earlier scanner left open. May ereport (out of memory).
void prepare_episodes();

bool has_open_episode(int index);

// has_open_episode() of each slot.
const bool* open_episodes();

// Has the processor fetch what follow_episode() will read for the first open episode from slot `from` on.
void fetch_next_episode(int from);

// Closes the open episode of slot `index` if it is over; else brings it up to date and acts if that is due.
void follow_episode(int index, Look* look);

// Decides whether the session of slot `index`, which has no open episode, has become a leak.
void consider_session(int index, Look* look);

// Opens an episode for a session that somebody asks by hand to act on, whatever its limits are, and acts.
void consider_request(int index, Look* look);

}  // namespace pgleak

#endif
