// Owns: the settings pgleak.*: their definition, range, checks, and the session's own limits.
// Defined once by _PG_init; read by everything in the module.
#ifndef PGLEAK_SERVER_SETTINGS_HPP
#define PGLEAK_SERVER_SETTINGS_HPP

#include "core/limits.hpp"

namespace pgleak {

// The server-wide settings, as this process last read them.
struct Settings {
  char* database;     // pgleak.database
  int scan_interval;  // ms
  bool log_query;
  bool notify;
  int retention;         // s; 0: keep for ever
  int history_max_rows;  // 0: no cap
  int queue_size;        // events
};
extern Settings settings;

// Defines all settings. To be called once, from _PG_init while the server preloads libraries. May ereport.
void define_settings();

// The limits as this process sees them. In the workers these are the server's values.
LimitValues current_limits();

// The limits that this session has of its own (ALTER ROLE, ALTER DATABASE, SET); kNotSet where it
// follows the server.
LimitValues own_limits();

// Called whenever a limit of this session changes, also on rollback of a SET LOCAL: inside the settings
// machinery, so it must neither ereport nor allocate.
using LimitChangeHandler = void (*)();
void on_limit_change(LimitChangeHandler handler);

}  // namespace pgleak

#endif
