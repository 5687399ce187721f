// Assigns the entries of a table to pools, and decides when an entry goes to another pool.
//
// The scanner uses it in its own memory. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_TABLE_HPP
#define PGLEAK_CORE_POOL_TABLE_HPP

#include <cstddef>
#include <cstdint>

#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

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

// All names of one application make the same key; see core/application_name.hpp.
PoolKey make_pool_key(std::uint32_t database_oid, const SessionIdentity& who);

// The key of the sum of all pools that share database, role and application with that of `key`. No client has
// its address.
PoolKey application_key(const PoolKey& key);

class PoolTable {
 public:
  // Bytes that a table of `capacity` entries needs, aligned for any type. 1 <= capacity.
  static std::size_t size_in_memory(int capacity);

  // Makes it a table without pools in `memory`, which the caller keeps.
  void initialize(void* memory, int capacity);

  int capacity() const { return capacity_; }

  // No entry from there on has ever been used.
  int end() const { return end_; }

  // Returns the entry of the pool with this key, and marks it as having sessions. A new pool gets a free
  // entry or that of the pool that has been empty longest, and sets `*is_new`. Returns capacity() if all
  // pools have sessions.
  int acquire(const PoolKey& key, bool* is_new);

  // Returns the entry of the pool with this key, or capacity() if it has none.
  int find(const PoolKey& key) const;

  // Returns the first pool at or after `from` that has sessions and belongs to the application of `key`, or
  // capacity() if there is none. The sum of its pools is none of them.
  int next_of_application(const PoolKey& key, int from) const;

  // Assigns the free entry `index` to the pool with this key, as it was before.
  void restore(int index, const PoolKey& key);

  // Call it after each sample with the pool's number of sessions. Returns false once the pool has been empty
  // too long, and frees its entry.
  bool keep(int index, std::int32_t sessions, MonotonicTime now);

  // Increases whenever a pool that found no entry might find one now.
  std::uint32_t vacancies() const { return vacancies_; }

 private:
  struct Entry {
    PoolKey key;
    std::uint32_t hash;         // 0: the entry is free
    std::int32_t next;          // in its chain; kNone: the last
    MonotonicTime empty_since;  // none: it has sessions
  };
  static constexpr std::int32_t kNone = -1;

  std::int32_t* chain_of(std::uint32_t hash) const { return &chains_[hash & (chain_count_ - 1)]; }
  int find(const PoolKey& key, std::uint32_t hash) const;
  int find_room();
  void occupy(int index, const PoolKey& key, std::uint32_t hash);
  void release(int index);

  Entry* entries_;
  std::int32_t* chains_;               // the first entry of each
  std::uint32_t* application_hashes_;  // of each entry: of its application_key()
  int capacity_;
  std::uint32_t chain_count_;  // a power of two
  int end_;
  int first_free_;  // no entry before it is free
  int empty_;       // number of pools without sessions
  std::uint32_t vacancies_;
};

}  // namespace pgleak

#endif
