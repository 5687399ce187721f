// One value for each OID that comes along, in a table that is filled and cleared again and again.
//
// The scanner uses it in its own memory. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_OID_TABLE_HPP
#define PGLEAK_CORE_OID_TABLE_HPP

#include <cstddef>
#include <cstdint>

#include "core/assert.hpp"

namespace pgleak {

// `Value` may be anything that is zero in its initial state.
template <typename Value>
class OidTable {
 public:
  // Bytes that a table for `capacity` OIDs needs, aligned for any type. 1 <= capacity.
  static std::size_t size_in_memory(int capacity) { return places_for(capacity) * sizeof(Place); }

  // Makes it an empty table in `memory`, which the caller keeps.
  void initialize(void* memory, int capacity) {
    places_ = static_cast<Place*>(memory);
    count_ = places_for(capacity);
    clear();
  }

  void clear() {
    for (std::size_t i = 0; i < count_; i++) places_[i] = Place{};
  }

  // The value of `oid`; the caller asks for at most `capacity` of them between two calls of clear().
  Value& at(std::uint32_t oid) {
    constexpr std::uint32_t kSpread = 2654435769U;  // 2^32 by the golden ratio: neighbours go far apart
    std::size_t i = (oid * kSpread) & (count_ - 1);
    for (std::size_t tries = 0; places_[i].is_used && places_[i].oid != oid; tries++) {
      PGLEAK_ASSERT(tries < count_);
      i = (i + 1) & (count_ - 1);
    }
    places_[i].oid = oid;
    places_[i].is_used = true;
    return places_[i].value;
  }

 private:
  struct Place {
    std::uint32_t oid;
    bool is_used;
    Value value;
  };

  // A power of two, so that at least half of the places stay free.
  static std::size_t places_for(int capacity) {
    std::size_t count = 2;
    while (count < 2 * static_cast<std::size_t>(capacity)) count *= 2;
    return count;
  }

  Place* places_;
  std::size_t count_;
};

}  // namespace pgleak

#endif
