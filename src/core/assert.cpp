#include "core/assert.hpp"

#ifdef PGLEAK_ASSERTIONS

#include <cstdio>
#include <cstdlib>

namespace pgleak {

void fail_assertion(const char* condition, const char* file, int line) {
  (void)std::fprintf(stderr, "pgleak: assertion failed: %s, at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace pgleak

#endif
