#include "server/rule_memory.hpp"

#include "server/shared_memory.hpp"

namespace pgleak {

namespace {

template <typename Change>
void change_rules(Change change) {
  shared_rules->set.write(change);
  shared_rules->version.fetch_add(1, std::memory_order_release);
  // Sessions that are idle already may be past a limit now.
  wake_worker(shared->scanner_proc);
}

}  // namespace

void publish_rules(const RuleSet& set) {
  const RuleSet& in_force = shared_rules->set.current();
  if (are_rules_known() && have_same_rules(in_force, set) && have_same_roles(in_force, set)) return;
  change_rules([&set](RuleSet* value) { memcpy(static_cast<void*>(value), &set, sizeof(set)); });
}

void publish_no_rules() {
  if (are_rules_known() && shared_rules->set.current().count == 0) return;
  change_rules([](RuleSet* value) { memset(static_cast<void*>(value), 0, sizeof(*value)); });
}

bool read_rules(RuleSet* copy) { return shared_rules->set.read(copy); }

bool are_rules_known() { return shared_rules->version.load(std::memory_order_acquire) != 0; }

}  // namespace pgleak
