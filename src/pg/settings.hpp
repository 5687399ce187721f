// The settings pgleak.*: their definitions, ranges and checks, and the session's own limits.
//
// _PG_init defines them once; every part of the module reads them. Reading never ereports.
#ifndef PGLEAK_PG_SETTINGS_HPP
#define PGLEAK_PG_SETTINGS_HPP

#include <optional>

#include "core/impact.hpp"
#include "core/limits.hpp"

namespace pgleak {

// The server-wide settings, as this process last read them. The server owns the string.
struct Settings {
  char* database;     // pgleak.database
  int scan_interval;  // ms
  bool log_query;
  bool notify;
  bool dry_run;
  bool act_on_superusers;
  bool act_on_declared;
  int max_actions_per_minute;
  int prepared_leak_after;  // ms; 0: never
  int retention;            // s; 0: keep forever
  int history_max_rows;     // 0: no cap
  int queue_size;           // events
  int trail_size;           // statements; 0: no trail
  bool track_idle_times;
  char* tags;  // pgleak.tags of this session; never nullptr
  int max_pools;
  int pool_busy_percent;
  int pool_busy_after;  // ms
};
extern Settings settings;

// Defines all settings. Call it once, from _PG_init while the server preloads libraries. May ereport.
void define_settings();

// The limits as this process sees them. In the workers, these are the server's values.
LimitValues current_limits();

// The setting's name, by limit_index(). Static memory.
const char* limit_setting_name(int index);

// The session's own limits (ALTER ROLE, ALTER DATABASE, SET); kNotSet where it follows the server.
LimitValues own_limits();

// The least impact that an action needs (pgleak.action_min_impact), as this process sees it.
Impact current_action_min_impact();

// The session's own value; nothing if it follows the server.
std::optional<Impact> own_action_min_impact();

// Called whenever one of these changes in this session, including the rollback of a SET LOCAL. It runs inside
// the settings machinery, so it must neither ereport nor allocate.
using LimitChangeHandler = void (*)();
void on_limit_change(LimitChangeHandler handler);

// Called before pgleak.tags changes in this session, as for limits.
using TagsChangeHandler = void (*)(const char* new_value);
void on_tags_change(TagsChangeHandler handler);

// Logs a WARNING for each action limit that is shorter than its leak limit in the server's own values. SET
// rejects that, but a configuration file cannot. Ereports nothing above WARNING.
void warn_about_contradictory_limits();

}  // namespace pgleak

#endif
