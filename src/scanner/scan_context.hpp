// One scan: what is the same for all sessions, what their decisions use up, and when the next scan is due.
#ifndef PGLEAK_SCANNER_SCAN_CONTEXT_HPP
#define PGLEAK_SCANNER_SCAN_CONTEXT_HPP

#include "core/decision.hpp"
#include "core/time.hpp"

namespace pgleak {

struct ScanContext {
  Now now;  // when the scan began
  ScanInputs inputs;
  Budgets budgets;
  bool watches_transactions;  // active sessions are candidates, too
  Micros next_due_in;         // the earliest moment at which something will be due

  bool has_deferred() const { return budgets.records.has_deferred() || budgets.actions.has_deferred(); }
};

}  // namespace pgleak

#endif
