// Runs statements through SPI in the recorder's transactions.
#ifndef PGLEAK_RECORDER_SPI_HPP
#define PGLEAK_RECORDER_SPI_HPP

#include "pg/postgres.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
}

namespace pgleak {

// Runs body() with SPI and a snapshot. No RAII object, because an ERROR inside unwinds both with the
// transaction.
template <typename Body>
void with_spi(Body body) {
  Assert(MyBackendType == B_BG_WORKER && IsTransactionState());
  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  body();
  PopActiveSnapshot();
  SPI_finish();
}

// Prepares the statement on first use and keeps the plan. The plan cache handles a table that is dropped and
// created again. May ereport.
SPIPlanPtr kept_plan(SPIPlanPtr* plan, const char* statement, int count, const Oid* types);

// Runs it. Raises an ERROR unless SPI answers `expected`.
void execute(SPIPlanPtr plan, Datum* values, const char* nulls, int expected);

}  // namespace pgleak

#endif
