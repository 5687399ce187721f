#include "core/pool_table.hpp"

#include <cstring>
#include <type_traits>

#include "core/application_name.hpp"
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

std::uint32_t chains_for(int capacity) {
  std::uint32_t count = 1;
  while (count < static_cast<std::uint32_t>(capacity)) count *= 2;
  return count;
}

}  // namespace

PoolKey make_pool_key(std::uint32_t database_oid, const SessionIdentity& who) {
  PoolKey key;
  std::memset(static_cast<void*>(&key), 0, sizeof(key));
  key.database_oid = database_oid;
  key.role_oid = who.role_oid;
  char application[kNameSize] = {};
  copy_text(application, who.application_name);
  normalize_application_name(application);
  copy_text(key.application_name, application);
  copy_text(key.client_address, who.client_address);
  return key;
}

PoolKey application_key(const PoolKey& key) {
  PoolKey application = key;
  std::memset(application.client_address, 0, sizeof(application.client_address));
  application.client_address[0] = '*';
  return application;
}

std::size_t PoolTable::size_in_memory(int capacity) {
  return static_cast<std::size_t>(capacity) * (sizeof(Entry) + sizeof(std::uint32_t)) +
         chains_for(capacity) * sizeof(std::int32_t);
}

void PoolTable::initialize(void* memory, int capacity) {
  PGLEAK_ASSERT(capacity >= 1);
  entries_ = static_cast<Entry*>(memory);
  chains_ = reinterpret_cast<std::int32_t*>(entries_ + capacity);
  application_hashes_ = reinterpret_cast<std::uint32_t*>(chains_ + chains_for(capacity));
  capacity_ = capacity;
  chain_count_ = chains_for(capacity);
  end_ = first_free_ = empty_ = 0;
  vacancies_ = 0;
  for (int i = 0; i < capacity; i++) entries_[i].hash = 0;
  for (std::uint32_t i = 0; i < chain_count_; i++) chains_[i] = kNone;
}

int PoolTable::find(const PoolKey& key, std::uint32_t hash) const {
  int index = *chain_of(hash);
  while (index != kNone && !(entries_[index].hash == hash && is_same(entries_[index].key, key)))
    index = entries_[index].next;
  return index;
}

int PoolTable::find(const PoolKey& key) const {
  const int index = find(key, hash_of(key));
  return index == kNone ? capacity_ : index;
}

int PoolTable::next_of_application(const PoolKey& key, int from) const {
  const PoolKey application = application_key(key);
  const std::uint32_t hash = hash_of(application);
  for (int i = from; i < end_; i++) {
    if (application_hashes_[i] != hash || entries_[i].hash == 0 || entries_[i].empty_since.is_set()) continue;
    const PoolKey& found = entries_[i].key;
    if (is_same(application_key(found), application) && !is_same(found, application)) return i;
  }
  return capacity_;
}

// Returns a free entry, or frees that of the pool that has been empty longest; capacity_ if there is none.
int PoolTable::find_room() {
  while (first_free_ < capacity_ && entries_[first_free_].hash != 0) first_free_++;
  if (first_free_ < capacity_ || empty_ == 0) return first_free_;
  int longest = kNone;
  for (int i = 0; i < end_; i++) {
    if (!entries_[i].empty_since.is_set()) continue;
    if (longest == kNone || entries_[i].empty_since < entries_[longest].empty_since) longest = i;
  }
  release(longest);
  return longest;
}

void PoolTable::occupy(int index, const PoolKey& key, std::uint32_t hash) {
  PGLEAK_ASSERT(index >= 0 && index < capacity_ && entries_[index].hash == 0);
  std::int32_t* const chain = chain_of(hash);
  entries_[index] = Entry{key, hash, *chain, MonotonicTime::none()};
  *chain = index;
  application_hashes_[index] = hash_of(application_key(key));
  if (index >= end_) end_ = index + 1;
}

void PoolTable::release(int index) {
  std::int32_t* link = chain_of(entries_[index].hash);
  while (*link != index) link = &entries_[*link].next;
  *link = entries_[index].next;
  entries_[index].hash = 0;
  empty_--;
  if (index < first_free_) first_free_ = index;
}

int PoolTable::acquire(const PoolKey& key, bool* is_new) {
  const std::uint32_t hash = hash_of(key);
  const int known = find(key, hash);
  *is_new = false;
  if (known != kNone) {
    empty_ -= entries_[known].empty_since.is_set();
    entries_[known].empty_since = MonotonicTime::none();
    return known;
  }
  const int index = find_room();
  if (index == capacity_) return capacity_;
  *is_new = true;
  occupy(index, key, hash);
  return index;
}

void PoolTable::restore(int index, const PoolKey& key) { occupy(index, key, hash_of(key)); }

bool PoolTable::keep(int index, std::int32_t sessions, MonotonicTime now) {
  Entry& entry = entries_[index];
  PGLEAK_ASSERT(entry.hash != 0);  // a free entry has no pool
  if (sessions > 0) {
    empty_ -= entry.empty_since.is_set();
    entry.empty_since = MonotonicTime::none();
    return true;
  }
  if (!entry.empty_since.is_set()) {
    entry.empty_since = now;
    empty_++;
    vacancies_++;
  }
  if (now - entry.empty_since < kKeepEmptyPool) return true;
  release(index);
  return false;
}

}  // namespace pgleak
