// Owns: the recorder's connection to pgleak.database, and waiting for it quietly when it cannot be had.
// Called once by the recorder, after start_worker().
#ifndef PGLEAK_SERVER_DATABASE_CONNECTION_HPP
#define PGLEAK_SERVER_DATABASE_CONNECTION_HPP

namespace pgleak {

// Connects this worker to pgleak.database. If that failed the last time, first waits until the database
// exists and a pause has passed, and ends the worker so that its successor can connect. May ereport FATAL.
void connect_to_history_database();

}  // namespace pgleak

#endif
