#include "core/pool_table.hpp"

#include <cstring>
#include <type_traits>

#include "core/assert.hpp"

namespace pgleak {

namespace {

static_assert(std::has_unique_object_representations<PoolKey>::value ||
                  sizeof(PoolKey) - 2 == 2 * sizeof(std::uint32_t) + kNameSize + kAddressSize,
              "only known padding, which is zero");

// FNV-1a; never 0.
std::uint32_t hash_of(const PoolKey& key) {
  std::uint32_t hash = 2166136261U;
  const unsigned char* bytes = reinterpret_cast<const unsigned char*>(&key);
  for (std::size_t i = 0; i < sizeof(key); i++) hash = (hash ^ bytes[i]) * 16777619U;
  return hash != 0 ? hash : 1;
}

// Zeroes everything after the end of the text.
template <std::size_t size>
void copy_text(char (&target)[size], const char (&source)[size]) {
  for (std::size_t i = 0; i < size - 1 && source[i] != '\0'; i++) target[i] = source[i];
}

// Byte by byte: the padding is zero.
// NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
bool is_same(const PoolKey& a, const PoolKey& b) { return std::memcmp(&a, &b, sizeof(PoolKey)) == 0; }

}  // namespace

PoolKey make_pool_key(std::uint32_t database_oid, const SessionIdentity& who) {
  PoolKey key;
  std::memset(static_cast<void*>(&key), 0, sizeof(key));
  key.database_oid = database_oid;
  key.role_oid = who.role_oid;
  copy_text(key.application_name, who.application_name);
  copy_text(key.client_address, who.client_address);
  return key;
}

void PoolTable::clear() {
  std::memset(static_cast<void*>(hashes_), 0, sizeof(hashes_));
  vacancies_ = 0;
}

void PoolTable::occupy(int index, const PoolKey& key, std::uint32_t hash) {
  PGLEAK_ASSERT(index >= 0 && index < kPoolCount);
  hashes_[index] = hash;
  keys_[index] = key;
  empty_since_[index] = MonotonicTime::none();
}

int PoolTable::acquire(const PoolKey& key, bool* is_new) {
  const std::uint32_t hash = hash_of(key);
  int best = kOtherPool;
  *is_new = false;
  for (int i = 0; i < kPoolCount; i++) {
    if (hashes_[i] == hash && is_same(keys_[i], key)) {
      empty_since_[i] = MonotonicTime::none();
      return i;
    }
    if (best != kOtherPool && hashes_[best] == 0) continue;  // nothing beats a free entry
    const bool is_empty_longest =
        empty_since_[i].is_set() && (best == kOtherPool || empty_since_[i] < empty_since_[best]);
    if (hashes_[i] == 0 || is_empty_longest) best = i;
  }
  if (best == kOtherPool) return kOtherPool;
  *is_new = true;
  occupy(best, key, hash);
  return best;
}

void PoolTable::restore(int index, const PoolKey& key) { occupy(index, key, hash_of(key)); }

bool PoolTable::keep(int index, std::int32_t sessions, MonotonicTime now) {
  PGLEAK_ASSERT(hashes_[index] != 0);  // a free entry has no pool
  if (sessions > 0) {
    empty_since_[index] = MonotonicTime::none();
    return true;
  }
  if (!empty_since_[index].is_set()) {
    empty_since_[index] = now;
    vacancies_++;
  }
  if (now - empty_since_[index] < kKeepEmptyPool) return true;
  hashes_[index] = 0;
  return false;
}

}  // namespace pgleak
