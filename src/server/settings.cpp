#include "server/settings.hpp"

#include <climits>

#include "server/compat.hpp"
#include "server/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgleak {

Settings settings;

namespace {

// One entry of the table of limits, at its limit_index(). `variable` holds milliseconds; `is_own` tells
// whether the value in force comes from the session (role, database, SET) and not from the server's
// configuration. The limits of actions stay at 0, never: no setting changes them.
struct LimitSetting {
  const char* name;
  const char* description;
  int variable;
  bool is_own;
};

LimitSetting limit_settings[kLimitCount] = {
    {"pgleak.idle_leak_after",
     "A session idle in a transaction for this long is a leak: it is logged and recorded.", 60000, false},
    {},
    {},
    {"pgleak.transaction_leak_after", "A transaction older than this is a leak, whatever its session does.",
     0, false},
    {},
    {},
};

LimitChangeHandler limit_change_handler = nullptr;

// The source of a value is known to the check hook only; it travels to the assign hook as the value's
// "extra", which the settings machinery restores together with the value at the end of SET LOCAL.
struct LimitExtra {
  bool is_own;
};

bool check_limit_hook(int*, void** extra, GucSource source) {
  LimitExtra* mine = static_cast<LimitExtra*>(compat::guc_extra_allocate(sizeof(LimitExtra)));
  if (mine == nullptr) return false;
  mine->is_own = source >= PGC_S_GLOBAL;
  *extra = mine;
  return true;
}

// The settings machinery calls plain functions, so there is one for each limit. It calls them *before* it
// changes the variable; the handler must see the new value, and so it is written here.
template <int index>
void assign_limit_hook(int new_value, void* extra) {
  limit_settings[index].is_own = extra != nullptr && static_cast<LimitExtra*>(extra)->is_own;
  limit_settings[index].variable = new_value;
  if (limit_change_handler != nullptr) limit_change_handler();
}

template <int index>
void define_limit() {
  LimitSetting& limit = limit_settings[index];
  DefineCustomIntVariable(limit.name, limit.description, "0 means never.", &limit.variable, limit.variable, 0,
                          INT_MAX, PGC_SUSET, GUC_UNIT_MS, check_limit_hook, assign_limit_hook<index>,
                          nullptr);
}

void define_server_settings() {
  DefineCustomStringVariable("pgleak.database", "The database in which the extension and its history live.",
                             nullptr, &settings.database, "postgres", PGC_POSTMASTER, 0, nullptr, nullptr,
                             nullptr);
  DefineCustomIntVariable("pgleak.scan_interval", "Longest time between two looks at the sessions.", nullptr,
                          &settings.scan_interval, 1000, 10, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, nullptr,
                          nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.log_query", "Puts the statement of a leak into the log line's DETAIL.",
                           nullptr, &settings.log_query, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.notify", "Sends NOTIFY pgleak when an episode opens or ends.", nullptr,
                           &settings.notify, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.retention", "History older than this is pruned.",
                          "0 means that age alone prunes nothing.", &settings.retention, 30 * 24 * 3600, 0,
                          INT_MAX, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.history_max_rows", "History beyond this many rows is pruned, oldest first.",
                          "0 means that the number of rows prunes nothing.", &settings.history_max_rows,
                          1000000, 0, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.queue_size", "Number of events that wait for the recorder at most.",
                          nullptr, &settings.queue_size, 1024, 16, 1024 * 1024, PGC_POSTMASTER, 0, nullptr,
                          nullptr, nullptr);
}

}  // namespace

void define_settings() {
  define_limit<limit_index(Clock::kIdle, LimitKind::kLeak)>();
  define_limit<limit_index(Clock::kTransaction, LimitKind::kLeak)>();
  define_server_settings();
  MarkGUCPrefixReserved("pgleak");
}

LimitValues current_limits() {
  LimitValues limits{};
  for (int i = 0; i < kLimitCount; i++) limits.value[i] = limit_settings[i].variable * kMillisecond;
  return limits;
}

LimitValues own_limits() {
  LimitValues limits = current_limits();
  for (int i = 0; i < kLimitCount; i++)
    if (!limit_settings[i].is_own) limits.value[i] = kNotSet;
  return limits;
}

void on_limit_change(LimitChangeHandler handler) { limit_change_handler = handler; }

}  // namespace pgleak
