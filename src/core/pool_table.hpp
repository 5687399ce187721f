// Owns: which entry of the fixed table a pool has, and when an entry is given to another pool.
// Used by the scanner, in its own memory. Must never allocate, know the server or read a clock. Never
// ereports.
#ifndef PGLEAK_CORE_POOL_TABLE_HPP
#define PGLEAK_CORE_POOL_TABLE_HPP

#include <cstdint>

#include "core/episode.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr int kPoolCount = 256;
inline constexpr int kOtherPool = kPoolCount;       // sessions of pools that found no entry
inline constexpr int kServerPool = kPoolCount + 1;  // all sessions
inline constexpr int kPoolEntryCount = kPoolCount + 2;

// A pool without sessions keeps its entry for so long, unless another pool needs it.
inline constexpr Micros kKeepEmptyPool = 3600 * kSecond;

// The sessions that share all of these are a pool. Zero-initialised before it is filled: it is compared
// whole.
struct PoolKey {
  std::uint32_t database_oid;
  std::uint32_t role_oid;
  char application_name[kNameSize];
  char client_address[kAddressSize];
};

PoolKey make_pool_key(std::uint32_t database_oid, const SessionIdentity& who);

class PoolTable {
 public:
  // Forgets all pools.
  void clear();

  // The entry of the pool with this key; if it has none yet, the entry it gets (then `*is_new`), a free one
  // or that of the pool that has been empty for the longest; kOtherPool if all have sessions. Marks it as
  // having sessions.
  int acquire(const PoolKey& key, bool* is_new);

  // Gives the free entry `index` to the pool with this key, as it was before.
  void restore(int index, const PoolKey& key);

  // To be told after each look how many sessions the pool has. Returns false once it has been empty for too
  // long: then its entry is free.
  bool keep(int index, std::int32_t sessions, MonotonicTime now);

  // Grows whenever a pool that found no entry might find one.
  std::uint32_t vacancies() const { return vacancies_; }

 private:
  void occupy(int index, const PoolKey& key, std::uint32_t hash);

  std::uint32_t hashes_[kPoolCount];       // 0: the entry is free
  MonotonicTime empty_since_[kPoolCount];  // none: it has sessions
  PoolKey keys_[kPoolCount];
  std::uint32_t vacancies_;
};

}  // namespace pgleak

#endif
