// The rows of pgleak.read_leaks() about prepared transactions.
#ifndef PGLEAK_FUNCTIONS_PREPARED_LEAKS_HPP
#define PGLEAK_FUNCTIONS_PREPARED_LEAKS_HPP

#include "core/effects.hpp"
#include "core/impact.hpp"
#include "pg/row.hpp"

namespace pgleak {

// One open episode of a prepared transaction, with what follows it in the list.
struct LivePrepared;

// Reads them all; everything is allocated in the current memory context. nullptr: there are none.
const LivePrepared* read_all_prepared();

// Adds a row for each. May ereport.
void add_prepared_leaks(ReturnSetInfo* result, const LivePrepared* first);

// leaks.cpp: the seven columns from holds_xid to impact.
void add_impact(Row* row, const ImpactSample& impact);

// Adds the columns oldest_for to subxact_overflow of pgleak.read_leaks().
void add_effects(Row* row, const LeakEffects& effects);

}  // namespace pgleak

#endif
