// Copies a value that another process may be writing at the same time.
//
// Never allocates, blocks or ereports.
#ifndef PGLEAK_CORE_RACING_COPY_HPP
#define PGLEAK_CORE_RACING_COPY_HPP

#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__has_feature)
#define PGLEAK_IS_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define PGLEAK_IS_TSAN 1
#else
#define PGLEAK_IS_TSAN 0
#endif

#if PGLEAK_IS_TSAN
// Not inline, or the checks of the caller would apply.
#define PGLEAK_RACES_ON_PURPOSE __attribute__((noinline, no_sanitize("thread")))
#else
#define PGLEAK_RACES_ON_PURPOSE
#endif

namespace pgleak {

// The largest word that a value can be copied by. It may overlay members of any type.
template <std::size_t alignment>
struct RacingWord {
  using Type = unsigned char;
};
template <>
struct RacingWord<4> {
  using Type = std::uint32_t __attribute__((may_alias));
};
template <>
struct RacingWord<8> {
  using Type = std::uint64_t __attribute__((may_alias));
};

// Copies `source` word by word. The copy may be torn: some words old, some new. The caller finds that out
// afterwards, by a version that the writer changes (core/seqlock.hpp), and throws such a copy away.
//
// The writer changes the value by plain stores, so this is a data race on purpose, the only one, and
// ThreadSanitizer ignores this function. What makes data races dangerous does not happen here. The loads are
// volatile: the compiler makes each of them once, and here. The fences of the protocol order them against the
// version on every processor. No word of a torn copy is used. Atomic stores would slow down the backends,
// which write at every statement.
template <typename Value>
PGLEAK_RACES_ON_PURPOSE void copy_racing(Value* copy, const Value& source) {
  static_assert(std::is_trivially_copyable<Value>::value, "copied as words");
  using Word = typename RacingWord<(alignof(Value) > 8 ? 8 : alignof(Value))>::Type;
  static_assert(sizeof(Value) % sizeof(Word) == 0, "copied whole");
  Word* const to = reinterpret_cast<Word*>(copy);
  const volatile Word* const from = reinterpret_cast<const volatile Word*>(&source);
  for (std::size_t i = 0; i < sizeof(Value) / sizeof(Word); i++) to[i] = from[i];
}

}  // namespace pgleak

#endif
