// Owns: the life of episodes: opening them, following them, acting on them, closing them, with the log line
// and the event that belong to each step. Called by scanner.cpp for one slot at a time. Must touch nothing
// but shared memory and the log.
// Owns: ends of episodes for which the event queue had no room: they stay in their slots until it has.
// Called by episodes.cpp when an episode ends or begins, and by scanner.cpp at each scan. Must touch nothing
// but shared memory. Never ereports.
#ifndef PGLEAK_SCANNER_EPISODES_HPP
#define PGLEAK_SCANNER_EPISODES_HPP

#include "core/episode.hpp"
#include "scanner/scan_context.hpp"

namespace pgleak {

// Memory of this process; finds the episodes that an earlier scanner left open. May ereport (out of memory).
void prepare_episodes();

bool has_open_episode(int index);

// has_open_episode() of each slot.
const bool* open_episodes();

// Has the processor fetch what follow_episode() will read for the first open episode from slot `from` on.
void prefetch_next_episode(int from);

// Closes the open episode of slot `index` if it is over; else brings it up to date and acts if that is due.
void follow_episode(int index, ScanContext* scan);

// Decides whether the session of slot `index`, which has no open episode, has become a leak.
void consider_session(int index, ScanContext* scan);

// Opens an episode for a session that somebody asks by hand to act on, whatever its limits are, and acts.
void consider_request(int index, ScanContext* scan);

// Finds what an earlier scanner left.
void prepare_pending_ends();

// Queues the end of the episode in slot `index`, now or as soon as there is room. Without it the row in the
// history would stay open, which is worse than to have no row.
void queue_end(int index, const Ending& ending);

// Queues what is late, as far as there is room.
void queue_pending_ends();

// To be called before slot `index` gets another episode: an end that is still late has no place left, is
// dropped and counted. Takes that queue full for as long as a session needs to leak again.
void drop_pending_end(int index);

}  // namespace pgleak

#endif
