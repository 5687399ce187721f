// Owns: the compiled rules in shared memory: one writer publishes a whole set, readers copy it whole.
// The recorder publishes; the scanner and pgleak.limits_for() read. Nobody waits for anybody. The set
// outlives a recorder that is restarted, not the server.
#ifndef PGLEAK_SHMEM_RULE_MEMORY_HPP
#define PGLEAK_SHMEM_RULE_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/rules.hpp"
#include "core/seqlock.hpp"
#include "pg/backend_status.hpp"

namespace pgleak {

struct SharedRules {
  std::atomic<std::uint64_t> version;  // of the set, counted up behind each publication; 0: none yet
  std::atomic<std::uint64_t> changes;  // committed changes of pgleak.rules that its trigger saw
  SeqLock<RuleSet> set;
};

// Recorder: makes `set` the one in force, if it differs from what is, and wakes the scanner. Never ereports.
void publish_rules(const RuleSet& set);

// Recorder: there is no database that could have rules, and this is known now. Never ereports.
void publish_no_rules();

// Copies the set in force; false if it is just being changed. Never ereports.
bool read_rules(RuleSet* copy);

// False from the start of the server until its recorder has read the rules, or knows that there are none.
bool rules_are_published();

// Matches the rules of `set` with the session in slot `index`, which `entry` shows. Returns false if the slot
// belongs to another session by now, or its session has not claimed it yet. Never ereports.
bool match_session(const RuleSet& set, int index, const StatusEntry& entry, WallTime now, Match* match);

}  // namespace pgleak

#endif
