#include "shmem/rule_memory.hpp"

#include <arpa/inet.h>

#include "pg/worker.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

namespace {

template <typename Change>
void change_rules(Change change) {
  Assert(is_recorder());
  shared_rules->set.write(change);
  shared_rules->version.fetch_add(1, std::memory_order_release);
  // Sessions that are already idle may now exceed a limit.
  wake_worker(shared->scanner_proc);
}

Network parse_address(const char* text) {
  unsigned char bytes[16];
  if (text[0] == '\0') return Network{};
  if (inet_pton(AF_INET, text, bytes) == 1) return make_network(Network::Family::kIpv4, bytes, 32);
  if (inet_pton(AF_INET6, text, bytes) == 1) return make_network(Network::Family::kIpv6, bytes, 128);
  return Network{};
}

}  // namespace

void publish_rules(const RuleSet& set) {
  const RuleSet& in_force = shared_rules->set.current();
  if (rules_are_published() && have_same_rules(in_force, set) && have_same_roles(in_force, set)) return;
  change_rules([&set](RuleSet* value) { memcpy(static_cast<void*>(value), &set, sizeof(set)); });
}

void publish_no_rules() {
  if (rules_are_published() && shared_rules->set.current().count == 0) return;
  change_rules([](RuleSet* value) { memset(static_cast<void*>(value), 0, sizeof(*value)); });
}

bool read_rules(RuleSet* copy) { return shared_rules->set.read(copy); }

bool rules_are_published() { return shared_rules->version.load(std::memory_order_acquire) != 0; }

bool match_session(const RuleSet& set, int index, const StatusEntry& entry, WallTime now, Match* match) {
  Assert(index >= 0 && index < shared->slot_count);
  BackendOwner owner;
  SessionIdentity who;
  if (!session_slot(index).backend.read_owner(entry.id, &owner)) return false;
  if (!read_status_strings(index, entry.id, &who, nullptr, 0, nullptr)) return false;
  const SessionFacts facts{owner.database, entry.role_oid, who.application_name,
                           parse_address(who.client_address)};
  *match = match_rules(set, facts, now);
  return true;
}

Match match_pool(const RuleSet& set, const SessionIdentity& who, WallTime now) {
  const SessionFacts facts{who.database, who.role_oid, who.application_name,
                           parse_address(who.client_address)};
  return match_rules(set, facts, now);
}

}  // namespace pgleak
