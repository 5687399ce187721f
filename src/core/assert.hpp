// PGLEAK_ASSERT(condition): what must hold at a place in core/, checked in the unit tests and in an extension
// built for a server with assertions (--enable-cassert), and nowhere else. The server's Assert() is for code
// outside of core/.
#ifndef PGLEAK_CORE_ASSERT_HPP
#define PGLEAK_CORE_ASSERT_HPP

#ifdef PGLEAK_ASSERTIONS

namespace pgleak {

[[noreturn]] void fail_assertion(const char* condition, const char* file, int line);

}  // namespace pgleak

#define PGLEAK_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::pgleak::fail_assertion(#condition, __FILE__, __LINE__))

#else

#define PGLEAK_ASSERT(condition) static_cast<void>(0)

#endif

#endif
