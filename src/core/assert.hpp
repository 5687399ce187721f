// PGLEAK_ASSERT(condition), an assertion for core/. Checked in the unit tests and in a build for a server
// with assertions (--enable-cassert); otherwise it does nothing. Code outside core/ uses the server's
// Assert().
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
