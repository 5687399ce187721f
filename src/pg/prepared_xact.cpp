#include "pg/prepared_xact.hpp"

#include "pg/clock.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/twophase.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

Datum column(HeapTupleHeader row, AttrNumber number) {
  bool is_null = false;
  return GetAttributeByNum(row, number, &is_null);
}

// None of the columns of pg_prepared_xact() is NULL.
PreparedXact xact_of(HeapTupleHeader row) {
  return PreparedXact{DatumGetTransactionId(column(row, 1)), TextDatumGetCString(column(row, 2)),
                      from_timestamp(DatumGetTimestampTz(column(row, 3))), DatumGetObjectId(column(row, 4)),
                      DatumGetObjectId(column(row, 5))};
}

}  // namespace

// Calls the function as the executor does, once for each row. It has to be called to the end: until then the
// expression context knows of `function`.
int read_prepared_xacts(ExprContext* context, PreparedXact** xacts) {
  if (max_prepared_xacts == 0) return 0;
  *xacts = static_cast<PreparedXact*>(palloc(static_cast<Size>(max_prepared_xacts) * sizeof(PreparedXact)));
  LOCAL_FCINFO(call, 0);
  FmgrInfo function;
  ReturnSetInfo result{};
  fmgr_info(F_PG_PREPARED_XACT, &function);
  result.type = T_ReturnSetInfo;
  result.econtext = context != nullptr ? context : CreateStandaloneExprContext();
  result.allowedModes = SFRM_ValuePerCall;
  result.returnMode = SFRM_ValuePerCall;
  InitFunctionCallInfoData(*call, &function, 0, InvalidOid, nullptr, reinterpret_cast<Node*>(&result));
  int count = 0;
  Datum row = FunctionCallInvoke(call);
  while (result.isDone == ExprMultipleResult) {
    if (count < max_prepared_xacts) (*xacts)[count++] = xact_of(DatumGetHeapTupleHeader(row));
    row = FunctionCallInvoke(call);
  }
  return count;
}

}  // namespace pgleak
