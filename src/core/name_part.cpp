#include "core/name_part.hpp"

#include <cstring>
#include <initializer_list>

namespace pgleak {

namespace {

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

// The characters that Kubernetes makes the random part of a name from: no vowels, and nothing that looks like
// one.
bool is_pod_character(char c) {
  return c != '\0' && std::strchr("bcdfghjklmnpqrstvwxz2456789", c) != nullptr;
}

// 0 unless a word ends there.
std::size_t whole(const char* text, std::size_t length) { return is_word(text[length]) ? 0 : length; }

}  // namespace

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

bool is_hex(char c) { return is_decimal(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f'); }

bool is_word(char c) {
  return is_decimal(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}

bool is_host(char c) { return is_word(c) || c == '.' || c == '-' || c == '_'; }

std::size_t length_of(const char* text, IsKind is_kind) {
  std::size_t length = 0;
  while (text[length] != '\0' && is_kind(text[length])) length++;
  return length;
}

bool is_all(const char* text, std::size_t length, IsKind is_kind) {
  for (std::size_t i = 0; i < length; i++)
    if (!is_kind(text[i])) return false;
  return true;
}

bool starts_with(const char* text, const char* prefix) {
  return std::strncmp(text, prefix, std::strlen(prefix)) == 0;
}

bool ends_with(const char* name, std::size_t end, const char* word) {
  const std::size_t length = std::strlen(word);
  if (end < length) return false;
  for (std::size_t i = 0; i < length; i++)
    if (to_lower(name[end - length + i]) != word[i]) return false;
  return true;
}

std::size_t four_octets(const char* text, char separator) {
  std::size_t length = 0;
  for (int i = 0; i < 4; i++) {
    if (i > 0 && text[length++] != separator) return 0;
    const std::size_t digits = length_of(text + length, is_decimal);
    if (digits == 0 || digits > 3) return 0;
    int octet = 0;
    for (std::size_t j = 0; j < digits; j++) octet = octet * 10 + text[length + j] - '0';
    if (octet > 255) return 0;
    length += digits;
  }
  return whole(text, length);
}

namespace {

// How often digits and letters follow each other.
int count_changes(const char* text, std::size_t length) {
  int changes = 0;
  for (std::size_t i = 1; i < length; i++) changes += is_decimal(text[i]) != is_decimal(text[i - 1]);
  return changes;
}

// The beginning of a word in a name. The functions below return the length of what differs in each process
// there, or 0.
struct Place {
  const char* name;
  std::size_t at;

  const char* here() const { return name + at; }
  char before(std::size_t by) const { return at >= by ? name[at - by] : '\0'; }
  std::size_t word() const { return length_of(here(), is_word); }
};

std::size_t uuid_at(const Place& place) {
  std::size_t length = 0;
  for (const std::size_t digits : {8, 4, 4, 4, 12}) {
    if (length > 0 && place.here()[length++] != '-') return 0;
    if (length_of(place.here() + length, is_hex) < digits) return 0;
    length += digits;
  }
  return whole(place.here(), length);
}

// Versions of four numbers begin with a small one.
std::size_t address_at(const Place& place) {
  if (place.before(1) == '.' || !is_decimal(place.here()[1])) return 0;
  const std::size_t length = four_octets(place.here(), '.');
  return place.here()[length] == '.' ? 0 : length;
}

std::size_t cloud_host_at(const Place& place) {
  if (!starts_with(place.here(), "ip-")) return 0;
  const std::size_t octets = four_octets(place.here() + 3, '-');
  if (octets == 0) return 0;
  const std::size_t length = 3 + octets;
  return length + (place.here()[length] == '.' ? length_of(place.here() + length, is_host) : 0);
}

// A host has a number or a domain; a word alone may be anything.
std::size_t host_after_at(const Place& place) {
  if (place.before(1) != '@' || !is_word(place.before(2))) return 0;
  const std::size_t length = length_of(place.here(), is_host);
  for (std::size_t i = 0; i < length; i++)
    if (is_decimal(place.here()[i]) || place.here()[i] == '.') return length;
  return 0;
}

std::size_t random_at(const Place& place) {
  const std::size_t length = place.word();
  const int changes = count_changes(place.here(), length);
  const bool is_random = length >= 20 ? changes >= 4 : length >= 12 && changes >= 2;
  return is_random && (length >= 20 || is_all(place.here(), length, is_hex)) ? length : 0;
}

// <hash of the ReplicaSet>-<5 characters>. Old versions of Kubernetes wrote the hash in decimal.
std::size_t pod_at(const Place& place) {
  const std::size_t hash = place.word();
  const char* const suffix = place.here() + hash + 1;
  if (place.before(1) != '-' || hash < 8 || hash > 10 || suffix[-1] != '-') return 0;
  if (!is_all(place.here(), hash, is_hex) || length_of(suffix, is_word) != 5) return 0;
  const bool is_random = count_changes(place.here(), hash) >= 2 || is_all(suffix, 5, is_pod_character);
  return is_random && is_decimal(place.here()[0]) + count_changes(place.here(), hash) > 0 ? hash + 6 : 0;
}

// The last 5 characters alone, of a DaemonSet or a Job, if they have letters between digits.
std::size_t last_of_pod_at(const Place& place) {
  const char* const text = place.here();
  if (place.before(1) != '-' || place.at < 2 || place.word() != 5 || text[5] != '\0') return 0;
  const bool begins_with_letter = !is_decimal(text[0]);
  return is_all(text, 5, is_pod_character) && count_changes(text, 5) >= 2 + begins_with_letter ? 5 : 0;
}

bool is_year(const char* digits, std::size_t length) {
  return length == 4 && (starts_with(digits, "19") || starts_with(digits, "20"));
}

// The length of the number that is the word there, unless it is a part of a version.
std::size_t lone_number(const Place& place) {
  const std::size_t length = whole(place.here(), length_of(place.here(), is_decimal));
  const bool follows_dot = place.before(1) == '.' && is_decimal(place.before(2));
  const bool has_more = place.here()[length] == '.' && is_decimal(place.here()[length + 1]);
  return follows_dot || has_more ? 0 : length;
}

std::size_t large_number_at(const Place& place) {
  const std::size_t length = lone_number(place);
  return length >= 4 && !is_year(place.here(), length) ? length : 0;
}

// "pgcopydb[4711]", "worker 3", "ForkPoolWorker-2".
std::size_t index_at(const Place& place) {
  const std::size_t length = lone_number(place);
  if (length == 0) return 0;
  if (place.before(1) == '[' && place.here()[length] == ']') return length;
  std::size_t end = place.at;
  while (end > 0 && place.at - end < 2 && !is_word(place.name[end - 1])) end--;
  const bool is_index = ends_with(place.name, end, "worker") || ends_with(place.name, end, "thread");
  return is_index && end < place.at ? length : 0;
}

// "pid 4711", "gpid=4711", "CONN:4711".
std::size_t labelled_number_at(const Place& place) {
  const std::size_t word = place.word();
  for (const char* label : {"pid", "gpid", "conn", "connection"}) {
    if (word != std::strlen(label) || !ends_with(place.here(), word, label)) continue;
    std::size_t length = word;
    while (length < word + 2 && place.here()[length] != '\0' && !is_word(place.here()[length])) length++;
    const std::size_t digits = length_of(place.here() + length, is_decimal);
    return length > word && digits > 0 ? whole(place.here(), length + digits) : 0;
  }
  return 0;
}

// "[3 of 10 busy]", as Sidekiq calls its process.
std::size_t share_at(const Place& place) {
  const std::size_t digits = length_of(place.here(), is_decimal);
  if (place.before(1) != '[' || digits == 0 || !starts_with(place.here() + digits, " of ")) return 0;
  if (!is_decimal(place.here()[digits + 4])) return 0;
  return length_of(place.here(), [](char c) { return c != ']'; });
}

}  // namespace

std::size_t changing_part(const char* name, std::size_t at) {
  const Place place{name, at};
  for (const auto match : {uuid_at, address_at, cloud_host_at, host_after_at, pod_at, last_of_pod_at,
                           random_at, labelled_number_at, share_at, index_at, large_number_at}) {
    const std::size_t length = match(place);
    if (length > 0) return length;
  }
  return 0;
}

}  // namespace pgleak
