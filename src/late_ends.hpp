// Owns: ends of episodes for which the event queue had no room: they stay in their slots until it has.
// Called by episodes.cpp when an episode ends or begins, and by scanner.cpp at each look. Must touch nothing
// but shared memory. Never ereports.
#ifndef PGLEAK_LATE_ENDS_HPP
#define PGLEAK_LATE_ENDS_HPP

#include "core/episode.hpp"

namespace pgleak {

// Finds what an earlier scanner left.
void prepare_late_ends();

// Queues the end of the episode in slot `index`, now or as soon as there is room. Without it the row in the
// history would stay open, which is worse than to have no row.
void hand_over_end(int index, const Ending& ending);

// Queues what is late, as far as there is room.
void hand_over_late_ends();

// To be called before slot `index` gets another episode: an end that is still late has no place left, is
// dropped and counted. Takes that queue full for as long as a session needs to leak again.
void give_up_late_end(int index);

}  // namespace pgleak

#endif
