// Owns: the notification that goes with an event, as JSON on the channel "pgleak".
// Called by the history writer, inside the transaction that writes the event. May ereport.
#ifndef PGLEAK_SERVER_NOTIFICATION_HPP
#define PGLEAK_SERVER_NOTIFICATION_HPP

#include "server/event_queue.hpp"

namespace pgleak {

// The names are those of the event, valid in this database.
void notify_event(const Event& event, const char* database, const char* role, const char* application_name);

}  // namespace pgleak

#endif
