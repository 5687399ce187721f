// Owns: telling the processor what memory will be read soon, so that it fetches all of it at once instead of
// one cache line after the other as it comes to them. A scanner that has slept finds nothing in the caches.
// Called by the scanner. Changes nothing and may be given any address.
#ifndef PGLEAK_CORE_PREFETCH_HPP
#define PGLEAK_CORE_PREFETCH_HPP

#include <cstddef>

namespace pgleak {

inline void fetch(const void* memory, std::size_t size) {
  constexpr std::size_t kCacheLine = 64;
  const char* const first = static_cast<const char*>(memory);
  for (std::size_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(first + i);
  __builtin_prefetch(first + size - 1);
}

template <typename Value>
void fetch(const Value* value) {
  fetch(value, sizeof(Value));
}

}  // namespace pgleak

#endif
