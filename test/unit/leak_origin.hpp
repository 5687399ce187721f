// An origin of a leak, shared by the tests about the leaks of a pool.
#ifndef PGLEAK_TEST_UNIT_LEAK_ORIGIN_HPP
#define PGLEAK_TEST_UNIT_LEAK_ORIGIN_HPP

#include <cstring>

#include "core/leak_pattern.hpp"

namespace pgleak {

inline LeakOrigin origin(const char* route, const char* statement,
                         StatementKind kind = StatementKind::kOther) {
  LeakOrigin origin{};
  std::strcpy(origin.route, route);
  std::strcpy(origin.statement, statement);
  origin.kind = kind;
  origin.touches_nothing = kind != StatementKind::kOther;
  return origin;
}

}  // namespace pgleak

#endif
