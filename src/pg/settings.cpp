#include "pg/settings.hpp"

#include <climits>

#include "core/tags.hpp"
#include "core/trail.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/injection.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgleak {

Settings settings;

namespace {

// One limit. `variable` holds milliseconds; `is_own` is true if the value in force comes from the session
// (role, database, SET) and not from the server's configuration.
struct LimitSetting {
  const char* name;
  const char* description;
  int variable;
  bool is_own;
};

LimitSetting limit_settings[kLimitCount] = {
    {"pgleak.idle_leak_after",
     "Sets the time after which a session that is idle in a transaction is a leak, which is logged and "
     "recorded.",
     60000, false},
    {"pgleak.idle_cancel_after",
     "Sets the time after which a session that is idle in a transaction has it rolled back in place.", 0,
     false},
    {"pgleak.idle_terminate_after",
     "Sets the time after which a session that is idle in a transaction is terminated.", 0, false},
    {"pgleak.transaction_leak_after",
     "Sets the age at which a transaction is a leak, whether its session is idle or active.", 0, false},
    {"pgleak.transaction_cancel_after", "Sets the age at which a transaction is cancelled.", 0, false},
    {"pgleak.transaction_terminate_after",
     "Sets the age of a transaction at which its session is terminated.", 0, false},
    {"pgleak.blocking_leak_after",
     "Sets the time after which a session that others wait for is a leak, whatever its state.", 60000, false},
    {"pgleak.blocking_cancel_after",
     "Sets the time after which the transaction of a session that others wait for is cancelled.", 0, false},
    {"pgleak.blocking_terminate_after",
     "Sets the time after which a session that others wait for is terminated.", 0, false},
};

// pgleak.action_min_impact; a session may have its own value, as with the limits.
int action_min_impact = static_cast<int>(Impact::kNone);
bool is_action_min_impact_own = false;

const config_enum_entry kImpactOptions[] = {{"any", static_cast<int>(Impact::kNone), false},
                                            {"locks", static_cast<int>(Impact::kLocks), false},
                                            {"horizon", static_cast<int>(Impact::kHorizon), false},
                                            {"blocking", static_cast<int>(Impact::kBlocking), false},
                                            {nullptr, 0, false}};

LimitChangeHandler limit_change_handler = nullptr;

// Only the check hook knows the source of a value. It passes it to the assign hook in the value's "extra",
// which the settings machinery restores together with the value at the end of SET LOCAL.
struct LimitExtra {
  bool is_own;
};

bool note_source(void** extra, GucSource source) {
  LimitExtra* mine = static_cast<LimitExtra*>(compat::guc_extra_allocate(sizeof(LimitExtra)));
  if (mine == nullptr) return false;
  mine->is_own = source >= PGC_S_GLOBAL;
  *extra = mine;
  return true;
}

bool is_own_value(const void* extra) {
  return extra != nullptr && static_cast<const LimitExtra*>(extra)->is_own;
}

bool check_action_min_impact(int*, void** extra, GucSource source) { return note_source(extra, source); }

void assign_action_min_impact(int new_value, void* extra) {
  action_min_impact = new_value;
  is_action_min_impact_own = is_own_value(extra);
  if (limit_change_handler != nullptr) limit_change_handler();
}

bool is_action(int index) { return index % kLimitKindCount != static_cast<int>(LimitKind::kLeak); }

int leak_index_of(int index) { return index - index % kLimitKindCount; }

// The names of two settings: that of an action and that of the leak it belongs to.
struct Contradiction {
  const char* action;
  const char* leak;
};

// An action must not come before its leak. Checked only for SET, where one person sets one value; the values
// of a file, a role or a database arrive in no particular order.
std::optional<Contradiction> find_contradiction(int index, int new_value) {
  const int first = leak_index_of(index);
  for (int i = first; i < first + kLimitKindCount; i++) {
    if (!is_action(i)) continue;
    const int action_value = i == index ? new_value : limit_settings[i].variable;
    const int leak_value = first == index ? new_value : limit_settings[first].variable;
    if (index != first && index != i) continue;
    if (action_value > 0 && leak_value > 0 && action_value < leak_value)
      return Contradiction{limit_settings[i].name, limit_settings[first].name};
  }
  return std::nullopt;
}

bool check_limit(int index, const int* new_value, void** extra, GucSource source) {
  if (source != PGC_S_SESSION) return note_source(extra, source);
  const std::optional<Contradiction> found = find_contradiction(index, *new_value);
  if (!found) return note_source(extra, source);
  GUC_check_errdetail("\"%s\" must not be shorter than \"%s\".", found->action, found->leak);
  GUC_check_errhint("Raise \"%s\" first, or lower \"%s\" first. Zero means never.", found->action,
                    found->leak);
  return false;
}

void assign_limit(int index, void* extra) { limit_settings[index].is_own = is_own_value(extra); }

// The settings machinery calls plain functions, one pair per limit. The assign hook runs *before* the
// variable changes, so it writes the variable itself: the handler must see the new value.
template <int index>
bool check_limit_hook(int* new_value, void** extra, GucSource source) {
  return check_limit(index, new_value, extra, source);
}

template <int index>
void assign_limit_hook(int new_value, void* extra) {
  assign_limit(index, extra);
  limit_settings[index].variable = new_value;
  if (limit_change_handler != nullptr) limit_change_handler();
}

template <int index>
void define_limit() {
  LimitSetting& limit = limit_settings[index];
  DefineCustomIntVariable(limit.name, limit.description, "Zero means never.", &limit.variable, limit.variable,
                          0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, check_limit_hook<index>,
                          assign_limit_hook<index>, nullptr);
  if constexpr (index + 1 < kLimitCount) define_limit<index + 1>();
}

TagsChangeHandler tags_change_handler = nullptr;

bool check_tags(char** new_value, void**, GucSource) {
  switch (check_tag_list(*new_value)) {
    case TagListError::kNone:
      return true;
    case TagListError::kTooLong:
      GUC_check_errdetail("The tags must not be longer than %zu bytes.", kMaxTagList);
      return false;
    case TagListError::kComment:
      GUC_check_errdetail("The tags must not contain the start or the end of a comment.");
      GUC_check_errhint("Write %%2A for an asterisk.");
      return false;
    case TagListError::kFormat:
      GUC_check_errdetail("The tags must be a list like route='/orders',job='nightly'.");
      GUC_check_errhint("Write %%27 for a quote, %%2C for a comma, and %%25 for a percent sign.");
      return false;
    case TagListError::kLimits:
      GUC_check_errdetail(
          "There must be at most %d tags, keys of at most %zu bytes, and values of at most %zu.", kMaxTags,
          kTagKeySize - 1, kTagValueSize - 1);
      return false;
  }
  return false;
}

void assign_tags(const char* new_value, void*) {
  if (tags_change_handler != nullptr) tags_change_handler(new_value);
}

void define_server_settings() {
  DefineCustomEnumVariable("pgleak.action_min_impact",
                           "Sets the least impact that a leak must have before pgleak acts on it.", nullptr,
                           &action_min_impact, action_min_impact, kImpactOptions, PGC_SUSET, 0,
                           check_action_min_impact, assign_action_min_impact, nullptr);
  DefineCustomStringVariable("pgleak.database", "Sets the database that holds the extension and its history.",
                             nullptr, &settings.database, "postgres", PGC_POSTMASTER, 0, nullptr, nullptr,
                             nullptr);
  DefineCustomIntVariable("pgleak.scan_interval", "Sets the longest time between two scans of all sessions.",
                          nullptr, &settings.scan_interval, 1000, 10, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
                          nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.log_query",
                           "Logs the last statement of a leak in the DETAIL of its log line.", nullptr,
                           &settings.log_query, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.notify",
                           "Sends NOTIFY pgleak when an episode opens, is acted on, or ends.", nullptr,
                           &settings.notify, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.dry_run", "Decides on actions and records them, but does not take them.",
                           nullptr, &settings.dry_run, false, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.act_on_superusers", "Allows actions on the sessions of superusers.",
                           nullptr, &settings.act_on_superusers, false, PGC_SIGHUP, 0, nullptr, nullptr,
                           nullptr);
  DefineCustomBoolVariable(
      "pgleak.act_on_declared", "Allows limits to act on sessions that declared themselves idle on purpose.",
      "A session does so by setting idle_in_transaction_session_timeout to 0 itself, as pg_dump does.",
      &settings.act_on_declared, false, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.max_actions_per_minute",
                          "Sets the number of actions per minute beyond which actions stop for one minute.",
                          nullptr, &settings.max_actions_per_minute, 30, 1, INT_MAX, PGC_SIGHUP, 0, nullptr,
                          nullptr, nullptr);
  DefineCustomIntVariable("pgleak.prepared_leak_after",
                          "Sets the age at which a prepared transaction is a leak. Nothing acts on it.",
                          "Zero means never. Only the value of the server counts.",
                          &settings.prepared_leak_after, 5 * 60 * 1000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS,
                          nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.retention", "Sets the age at which rows of the history are deleted.",
                          "Zero means that rows are not deleted because of their age.", &settings.retention,
                          30 * 24 * 3600, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.history_max_rows",
                          "Sets the number of rows beyond which the oldest rows of the history are deleted.",
                          "Zero means that there is no limit on the number of rows.",
                          &settings.history_max_rows, 1000000, 0, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr,
                          nullptr);
  DefineCustomIntVariable(
      "pgleak.queue_size", "Sets the maximum number of events that can wait for the recorder.", nullptr,
      &settings.queue_size, 1024, 16, 1024 * 1024, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.trail_size",
                          "Sets the number of statements kept for each running transaction.",
                          "Zero keeps none.", &settings.trail_size, 8, 0, kMaxTrailSize, PGC_POSTMASTER, 0,
                          nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgleak.track_idle_times",
                           "Counts how long the sessions of each pool are idle in a transaction.", nullptr,
                           &settings.track_idle_times, true, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
  DefineCustomStringVariable(
      "pgleak.tags", "Says which code and which request the statements of the session come from.",
      "A list like route='/orders',job='nightly'; tags in comments of a statement win.", &settings.tags, "",
      PGC_USERSET, 0, check_tags, assign_tags, nullptr);
  DefineCustomIntVariable("pgleak.max_pools", "Sets the maximum number of pools with a row of their own.",
                          nullptr, &settings.max_pools, 1024, 16, 65536, PGC_POSTMASTER, 0, nullptr, nullptr,
                          nullptr);
  DefineCustomIntVariable("pgleak.pool_busy_percent",
                          "Sets the percentage of its connections in use at which a pool is busy.", nullptr,
                          &settings.pool_busy_percent, 80, 1, 100, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgleak.pool_busy_after",
                          "Sets the time after which a busy pool is considered too small.", nullptr,
                          &settings.pool_busy_after, 5 * 60 * 1000, 1000, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
                          nullptr, nullptr, nullptr);
}

}  // namespace

void define_settings() {
  Assert(process_shared_preload_libraries_in_progress);
  define_limit<0>();
  define_server_settings();
  define_injection_settings();
  MarkGUCPrefixReserved("pgleak");
}

LimitValues current_limits() {
  LimitValues limits{};
  for (int i = 0; i < kLimitCount; i++) limits.value[i] = from_milliseconds(limit_settings[i].variable);
  return limits;
}

const char* limit_setting_name(int index) { return limit_settings[index].name; }

LimitValues own_limits() {
  LimitValues limits = current_limits();
  for (int i = 0; i < kLimitCount; i++)
    if (!limit_settings[i].is_own) limits.value[i] = kNotSet;
  return limits;
}

Impact current_action_min_impact() { return static_cast<Impact>(action_min_impact); }

std::optional<Impact> own_action_min_impact() {
  if (!is_action_min_impact_own) return std::nullopt;
  return current_action_min_impact();
}

void on_limit_change(LimitChangeHandler handler) { limit_change_handler = handler; }

void on_tags_change(TagsChangeHandler handler) { tags_change_handler = handler; }

void warn_about_contradictory_limits() {
  for (int i = 0; i < kLimitCount; i++) {
    if (!is_action(i)) continue;
    const std::optional<Contradiction> found = find_contradiction(i, limit_settings[i].variable);
    if (found)
      ereport(WARNING, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("pgleak: \"%s\" is shorter than \"%s\"", found->action, found->leak),
                        errdetail("The action is taken when the leak is detected, not earlier."),
                        errhint("Raise \"%s\" or lower \"%s\".", found->action, found->leak)));
  }
}

}  // namespace pgleak
