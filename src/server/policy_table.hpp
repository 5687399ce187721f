// Owns: reading pgleak.rules, and who is a member of the roles it names, into a RuleSet.
// Called by policy.cpp in the recorder, inside a transaction, on a standby too. May ereport.
#ifndef PGLEAK_SERVER_POLICY_TABLE_HPP
#define PGLEAK_SERVER_POLICY_TABLE_HPP

#include <cstdint>

#include "core/rules.hpp"

namespace pgleak {

// Fills `set`, which is all zero, with the enabled rules in their order. After open_rules() said kReady: it
// reads as the table's owner, and names of no database or role are as good as others. More rules than fit are
// an ERROR.
void read_rules_table(RuleSet* set);

// Adds the members, direct and indirect, of the roles that the rules name. As the recorder itself, after
// close_rules(). Returns the number of roles for which there was no room.
std::int64_t read_role_members(RuleSet* set);

}  // namespace pgleak

#endif
