// Assigns the entries of a fixed table to pools, and decides when an entry goes to another pool.
//
// The scanner uses it in its own memory. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_TABLE_HPP
#define PGLEAK_CORE_POOL_TABLE_HPP

#include <cstdint>

#include "core/episode.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr int kPoolCount = 256;
inline constexpr int kOtherPool = kPoolCount;       // the sessions whose pool found no entry
inline constexpr int kServerPool = kPoolCount + 1;  // all sessions
inline constexpr int kPoolEntryCount = kPoolCount + 2;

// A pool without sessions keeps its entry this long, unless another pool needs it.
inline constexpr Micros kKeepEmptyPool = 3600 * kSecond;

// Sessions that share all of these form a pool. Zero-initialize it before filling it, because it is compared
// byte by byte.
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

  // Returns the entry of the pool with this key, and marks it as having sessions. A new pool gets a free
  // entry or that of the pool that has been empty longest, and sets `*is_new`. Returns kOtherPool if all
  // pools have sessions.
  int acquire(const PoolKey& key, bool* is_new);

  // Assigns the free entry `index` to the pool with this key, as it was before.
  void restore(int index, const PoolKey& key);

  // Call it after each sample with the pool's number of sessions. Returns false once the pool has been empty
  // too long, and frees its entry.
  bool keep(int index, std::int32_t sessions, MonotonicTime now);

  // Increases whenever a pool that found no entry might find one now.
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
