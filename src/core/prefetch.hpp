// Tells the processor which memory will be read soon, so that it fetches many cache lines in parallel. A
// scanner that has slept finds nothing in the caches, so without this it would spend most of a scan waiting
// for memory. Has no other effect; any address is allowed.
#ifndef PGLEAK_CORE_PREFETCH_HPP
#define PGLEAK_CORE_PREFETCH_HPP

#include <cstddef>

namespace pgleak {

inline void prefetch(const void* memory, std::size_t size) {
  constexpr std::size_t kCacheLine = 64;
  const char* const first = static_cast<const char*>(memory);
  for (std::size_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(first + i);
  __builtin_prefetch(first + size - 1);
}

template <typename Value>
void prefetch(const Value* value) {
  prefetch(value, sizeof(Value));
}

}  // namespace pgleak

#endif
