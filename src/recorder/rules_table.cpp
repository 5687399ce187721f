#include <sys/socket.h>

#include <optional>

#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "recorder/recorder.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// The casts guarantee the types in case somebody altered the table; they cost nothing otherwise. ONLY, and a
// check that it is no view: nothing but the extension's own table is read.
constexpr char kReadRules[] =
    "SELECT p.id::pg_catalog.int4, p.database::pg_catalog.text, p.role::pg_catalog.text,"
    " p.application_name::pg_catalog.text, p.client_addr::pg_catalog.inet, p.min_impact::pg_catalog.text,"
    " p.idle_leak_after::interval, p.idle_cancel_after::interval, p.idle_terminate_after::interval,"
    " p.transaction_leak_after::interval, p.transaction_cancel_after::interval,"
    " p.transaction_terminate_after::interval, p.blocking_leak_after::interval,"
    " p.blocking_cancel_after::interval, p.blocking_terminate_after::interval,"
    " p.valid_until::timestamp with time zone"
    " FROM ONLY pgleak.rules p WHERE p.enabled ORDER BY p.priority, p.id LIMIT $1";

enum Column { kId = 1, kDatabase, kRole, kApplicationName, kClientAddr, kMinImpact, kFirstLimit };
constexpr int kValidUntil = kFirstLimit + kLimitCount;

// Includes indirect members whatever the memberships inherit, and a superuser only where it really is a
// member.
constexpr char kReadMembers[] =
    "WITH RECURSIVE member (role, of_role) AS ("
    " SELECT s.role, s.role FROM pg_catalog.unnest($1) AS s (role)"
    " UNION"
    " SELECT m.member, r.of_role FROM member r"
    " JOIN pg_catalog.pg_auth_members m ON m.roleid OPERATOR(pg_catalog.=) r.role)"
    " SELECT role, of_role FROM member ORDER BY role";
constexpr long kFetchSize = 1000;

SPIPlanPtr kept_plan(SPIPlanPtr* plan, const char* statement, Oid type) {
  if (*plan == nullptr) {
    SPIPlanPtr fresh = SPI_prepare(statement, 1, &type);
    if (fresh == nullptr || SPI_keepplan(fresh) != 0)
      ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                      errmsg("pgleak: could not prepare a statement for pgleak.rules")));
    *plan = fresh;
  }
  return *plan;
}

// One row of the table. The table's CHECKs already reject what is rejected here, unless somebody dropped
// them.
struct RuleRow {
  HeapTuple tuple;
  TupleDesc descriptor;
  std::int32_t id;

  std::optional<Datum> get(int column) const {
    bool is_null = true;
    const Datum value = SPI_getbinval(tuple, descriptor, column, &is_null);
    if (is_null) return std::nullopt;
    return value;
  }
  [[noreturn]] void refuse(int column) const {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("rule %d of pgleak.rules has an invalid %s", id, SPI_fname(descriptor, column))));
    pg_unreachable();
  }
};

void copy_text(const RuleRow& row, int column, char* target, std::size_t size) {
  const std::optional<Datum> value = row.get(column);
  if (!value) return;
  if (strlcpy(target, TextDatumGetCString(*value), size) >= size || target[0] == '\0') row.refuse(column);
}

// A month counts as 30 days, as in interval comparison.
Micros read_limit(const RuleRow& row, int column) {
  constexpr std::int64_t kMost = 365;
  const std::optional<Datum> value = row.get(column);
  if (!value) return kNotSet;
  const Interval* interval = DatumGetIntervalP(*value);
  const std::int64_t days = static_cast<std::int64_t>(interval->month) * DAYS_PER_MONTH + interval->day;
  if (days < -kMost || days > kMost || interval->time < -kMost * USECS_PER_DAY ||
      interval->time > kMost * USECS_PER_DAY)
    row.refuse(column);
  const Micros limit{days * USECS_PER_DAY + interval->time};
  if (limit < Micros{0}) row.refuse(column);
  return limit;
}

Network read_network(const RuleRow& row) {
  const std::optional<Datum> value = row.get(kClientAddr);
  if (!value) return Network{};
  const inet* address = DatumGetInetPP(*value);
  const bool is_ipv4 = ip_family(address) == PGSQL_AF_INET;
  return make_network(is_ipv4 ? Network::Family::kIpv4 : Network::Family::kIpv6, ip_addr(address),
                      ip_bits(address));
}

Impact read_min_impact(const RuleRow& row) {
  const std::optional<Datum> value = row.get(kMinImpact);
  if (!value) return Impact::kNone;
  const char* const name = TextDatumGetCString(*value);
  for (int i = 0; i <= static_cast<int>(Impact::kBlocking); i++)
    if (strcmp(name, to_string(static_cast<Impact>(i))) == 0) return static_cast<Impact>(i);
  row.refuse(kMinImpact);
}

void read_rule(const RuleRow& row, Rule* rule) {
  const std::optional<Datum> valid_until = row.get(kValidUntil);
  rule->limits.id = row.id;
  for (int i = 0; i < kLimitCount; i++) rule->limits.limits.value[i] = read_limit(row, kFirstLimit + i);
  rule->valid_until = valid_until ? from_timestamp(DatumGetTimestampTz(*valid_until)) : kEndOfTime;
  rule->client = read_network(row);
  rule->min_impact = read_min_impact(row);
  copy_text(row, kDatabase, rule->database, sizeof(rule->database));
  copy_text(row, kRole, rule->role, sizeof(rule->role));
  copy_text(row, kApplicationName, rule->application_name, sizeof(rule->application_name));
  rule->names_role = rule->role[0] != '\0';
}

// The existing roles that rules name, each with the rules that name it.
struct NamedRoles {
  int count;
  Oid role[kMaxRules];
  RuleBits rules[kMaxRules];

  RuleBits* find(Oid wanted) {
    for (int i = 0; i < count; i++)
      if (role[i] == wanted) return &rules[i];
    return nullptr;
  }
};

void find_named_roles(const RuleSet& set, NamedRoles* named) {
  for (int i = 0; i < set.count; i++) {
    if (!set.rules[i].names_role) continue;
    const Oid role = get_role_oid(set.rules[i].role, true);
    if (!OidIsValid(role)) continue;
    RuleBits* rules = named->find(role);
    if (rules == nullptr) {
      named->role[named->count] = role;
      rules = &named->rules[named->count++];
    }
    rules->add(i);
  }
}

Datum make_oid_array(const Oid* oids, int count) {
  Datum* values = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<Size>(count)));
  for (int i = 0; i < count; i++) values[i] = ObjectIdGetDatum(oids[i]);
  return PointerGetDatum(construct_array(values, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

Oid fetched_oid(std::uint64_t row, int column) {
  bool is_null = false;
  return DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null));
}

// A member's rows are consecutive.
struct Member {
  Oid role;
  RuleBits satisfied;
};

std::int64_t add_members(RuleSet* set, NamedRoles* named, Portal portal) {
  std::int64_t left_out = 0;
  Member member{InvalidOid, {}};
  const auto finish_member = [&] {
    if (OidIsValid(member.role) && !add_role(set, member.role, member.satisfied)) left_out++;
  };
  for (;;) {
    SPI_cursor_fetch(portal, true, kFetchSize);
    if (SPI_processed == 0) break;
    for (std::uint64_t i = 0; i < SPI_processed; i++) {
      const Oid role = fetched_oid(i, 1);
      if (role != member.role) {
        finish_member();
        member = Member{role, {}};
      }
      const RuleBits* rules = named->find(fetched_oid(i, 2));
      for (int w = 0; rules != nullptr && w < RuleBits::kWords; w++)
        member.satisfied.word[w] |= rules->word[w];
    }
    SPI_freetuptable(SPI_tuptable);
  }
  finish_member();
  return left_out;
}

}  // namespace

void read_rules_table(RuleSet* set) {
  Assert(IsTransactionState() && set->count == 0);
  static SPIPlanPtr plan = nullptr;
  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  Datum values[] = {Int64GetDatum(kMaxRules + 1)};
  const int result = SPI_execute_plan(kept_plan(&plan, kReadRules, INT8OID), values, nullptr, true, 0);
  if (result != SPI_OK_SELECT)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not read pgleak.rules"),
                    errdetail("SPI returned %s.", SPI_result_code_string(result))));
  if (SPI_processed > kMaxRules)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                    errmsg("pgleak.rules has more than %d enabled rules", kMaxRules)));
  for (std::uint64_t i = 0; i < SPI_processed; i++) {
    RuleRow row{SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 0};
    if (const std::optional<Datum> id = row.get(kId)) row.id = DatumGetInt32(*id);
    Rule* rule = &set->rules[set->count++];
    read_rule(row, rule);
    if (uses_transaction_clock(rule->limits.limits)) set->uses_transaction_clock = true;
  }
  PopActiveSnapshot();
  SPI_finish();
}

std::int64_t read_role_members(RuleSet* set) {
  Assert(IsTransactionState() && set->role_count == 0);
  static SPIPlanPtr plan = nullptr;
  NamedRoles* named = static_cast<NamedRoles*>(palloc0(sizeof(NamedRoles)));
  find_named_roles(*set, named);
  if (named->count == 0) return 0;

  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  Datum values[] = {make_oid_array(named->role, named->count)};
  Portal portal =
      SPI_cursor_open(nullptr, kept_plan(&plan, kReadMembers, OIDARRAYOID), values, nullptr, true);
  const std::int64_t left_out = add_members(set, named, portal);
  SPI_cursor_close(portal);
  PopActiveSnapshot();
  SPI_finish();
  return left_out;
}

}  // namespace pgleak
