#include "pg/row.hpp"

#include "pg/clock.hpp"
#include "pg/encoding.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
}

namespace pgleak {

void Row::add(Datum value) {
  Assert(count_ < kMaxColumns);
  values_[count_] = value;
  nulls_[count_++] = false;
}

void Row::add_null() {
  Assert(count_ < kMaxColumns);
  values_[count_] = 0;
  nulls_[count_++] = true;
}

void Row::add_nulls(int count) {
  for (int i = 0; i < count; i++) add_null();
}

void Row::add_bool(bool value) { add(BoolGetDatum(value)); }

void Row::add_int32(std::int32_t value) { add(Int32GetDatum(value)); }

void Row::add_int64(std::int64_t value) { add(Int64GetDatum(value)); }

void Row::add_xid(std::uint32_t value) { value == 0 ? add_null() : add(TransactionIdGetDatum(value)); }

void Row::add_lsn(std::uint64_t value) { value == 0 ? add_null() : add(LSNGetDatum(value)); }

void Row::add_double(double value) { add(Float8GetDatum(value)); }

void Row::add_time(WallTime value) {
  value.is_set() ? add(TimestampTzGetDatum(to_timestamp(value))) : add_null();
}

void Row::add_duration(std::optional<Micros> value) {
  value ? add(IntervalPGetDatum(make_interval(*value))) : add_null();
}

void Row::add_text(const char* value) { value == nullptr ? add_null() : add(CStringGetTextDatum(value)); }

void Row::add_foreign_text(const char* value, int encoding) {
  add_text(to_database_encoding(value, static_cast<int>(strlen(value)), encoding));
}

void Row::add_jsonb(const char* value) {
  value == nullptr ? add_null() : add(DirectFunctionCall1(jsonb_in, CStringGetDatum(value)));
}

void Row::finish() {
  Assert(count_ == result_->setDesc->natts);
  tuplestore_putvalues(result_->setResult, result_->setDesc, values_, nulls_);
}

}  // namespace pgleak
