// The compiled rules in shared memory: the recorder publishes a whole set, the scanner and
// pgleak.limits_for() copy it whole. Neither side waits for the other.
//
// The set survives a restart of the recorder, but not of the server. Never ereports.
#ifndef PGLEAK_SHMEM_RULE_MEMORY_HPP
#define PGLEAK_SHMEM_RULE_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/rules.hpp"
#include "core/seqlock.hpp"
#include "pg/backend_status.hpp"

namespace pgleak {

struct SharedRules {
  std::atomic<std::uint64_t> version;  // of the set, incremented after each publication; 0: none yet
  std::atomic<std::uint64_t> changes;  // committed changes of pgleak.rules, counted by its trigger
  SeqLock<RuleSet> set;
};

// Recorder: puts `set` into force if it differs from the current one, and wakes the scanner.
void publish_rules(const RuleSet& set);

// Recorder: publishes an empty set, when it is certain that no database has rules.
void publish_no_rules();

// Copies the set in force. Returns false if it is being changed right now.
bool read_rules(RuleSet* copy);

// False from server start until the recorder has read the rules or knows that there are none.
bool rules_are_published();

// Matches the rules of `set` with the session in slot `index`, which `entry` describes. Returns false if the
// slot belongs to another session, or its session has not claimed it yet.
bool match_session(const RuleSet& set, int index, const StatusEntry& entry, WallTime now, Match* match);

// Matches the rules of `set` with all sessions of one pool.
Match match_pool(const RuleSet& set, const SessionIdentity& who, WallTime now);

}  // namespace pgleak

#endif
