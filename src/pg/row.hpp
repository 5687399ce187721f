// Builds one result row of a set-returning function, value by value. Everything may ereport (out of memory).
#ifndef PGLEAK_PG_ROW_HPP
#define PGLEAK_PG_ROW_HPP

#include <optional>

#include "core/time.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pgleak {

// Takes the values in the order of the function's columns; finish() adds the row to the result. Trivially
// destructible, so an ERROR may skip its destructor.
class Row {
 public:
  explicit Row(ReturnSetInfo* result) : result_(result), count_(0), values_{}, nulls_{} {}

  void add_null();
  void add_nulls(int count);
  void add_bool(bool value);
  void add_int32(std::int32_t value);
  void add_int64(std::int64_t value);
  void add_xid(std::uint32_t value);  // 0: NULL
  void add_lsn(std::uint64_t value);  // 0: NULL
  void add_double(double value);
  void add_time(WallTime value);  // none: NULL
  void add_duration(std::optional<Micros> value);
  void add_text(const char* value);  // nullptr: NULL; must be valid in the database's encoding
  void add_foreign_text(const char* value, int encoding);  // in any encoding, valid or not
  void add_jsonb(const char* value);  // nullptr: NULL; must be valid JSON in the database's encoding

  void finish();

 private:
  static constexpr int kMaxColumns = 56;

  void add(Datum value);

  ReturnSetInfo* result_;
  int count_;
  Datum values_[kMaxColumns];
  bool nulls_[kMaxColumns];
};

}  // namespace pgleak

#endif
