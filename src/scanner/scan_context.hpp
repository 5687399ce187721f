// The context of one scan: the inputs that all sessions share, the budgets that their decisions use up, and
// the time until the next scan.
#ifndef PGLEAK_SCANNER_SCAN_CONTEXT_HPP
#define PGLEAK_SCANNER_SCAN_CONTEXT_HPP

#include <optional>

#include "core/decision.hpp"
#include "core/time.hpp"

namespace pgleak {

struct ScanContext {
  Now now;  // when the scan began
  ScanInputs inputs;
  Budgets budgets;
  bool watches_transactions;        // active sessions are candidates too
  bool is_anything_locked;          // an open leak holds locks, for which somebody may come to wait
  std::optional<bool> has_waiters;  // somebody waits for a lock; nothing: this scan has not looked
  bool defers_prepared;             // there was no time for all prepared transactions
  Micros next_due_in;               // time until the next limit or action is due

  bool has_deferred() const {
    return budgets.records.has_deferred() || budgets.actions.has_deferred() || defers_prepared;
  }
};

}  // namespace pgleak

#endif
