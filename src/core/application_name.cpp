#include "core/application_name.hpp"

#include <arpa/inet.h>

#include <cstring>

#include "core/name_part.hpp"

namespace pgleak {

namespace {

// Stands for what was taken out until the end is known. No application_name contains control characters.
constexpr char kMark = '\x01';

bool is_opening(char c) { return c != '\0' && std::strchr("([{<", c) != nullptr; }
bool is_closing(char c) { return c != '\0' && std::strchr(")]}>", c) != nullptr; }

// Overwrites each such part with marks, then leaves one mark of each.
void mark_changes(char* name) {
  for (std::size_t at = 0; name[at] != '\0';) {
    const std::size_t changing = is_word(name[at]) ? changing_part(name, at) : 0;
    if (changing > 0) std::memset(name + at, kMark, changing);
    at += changing > 0 ? changing : is_word(name[at]) ? length_of(name + at, is_word) : 1;
  }
  char* end = name;
  for (const char* c = name; *c != '\0'; c++)
    if (*c != kMark || c == name || c[-1] != kMark) *end++ = *c;
  *end = '\0';
}

// How many brackets are open after `length` characters.
int open_brackets(const char* text, std::size_t length) {
  int open = 0;
  for (std::size_t i = 0; i < length; i++) open += is_opening(text[i]) - is_closing(text[i]);
  return open;
}

// Cuts the name where nothing but marks, and what joins them to the rest, follows. Keeps brackets whole.
void cut_marked_end(char* name) {
  const std::size_t length = std::strlen(name);
  std::size_t last = length;  // behind the last word
  while (last > 0 && !is_word(name[last - 1])) last--;
  std::size_t cut = last;
  while (cut < length && name[cut] != kMark) cut++;
  if (cut == length) return;
  if (last == 0) {
    std::strcpy(name, "\x01");
    return;
  }
  while (cut > last && !is_closing(name[cut - 1])) cut--;
  if (open_brackets(name, cut) <= 0 || open_brackets(name, length) > 0) name[cut] = '\0';
}

// What comes behind the last " - ", or nullptr.
const char* last_part(const char* name) {
  const char* part = nullptr;
  for (const char* c = name; (c = std::strstr(c, " - ")) != nullptr; c++) part = c + 3;
  return part;
}

// The length of a number of at most 65535, which is the rest of the text, or 0.
std::size_t port_at(const char* text, int least) {
  const std::size_t length = length_of(text, is_decimal);
  if (length == 0 || length > 5 || text[length] != '\0') return 0;
  int port = 0;
  for (std::size_t i = 0; i < length; i++) port = port * 10 + text[i] - '0';
  return port >= least && port <= 65535 ? length : 0;
}

// The length of the host in "host:port", which is the rest of the name: an address, "unix" or "unix(4711)" as
// PgBouncer writes it, or the name of a host, whose clients have ports that need no privilege; or 0.
std::size_t host_of(const char* part) {
  constexpr int kLeastClientPort = 1024;
  const std::size_t octets = four_octets(part, '.');
  if (octets > 0) return part[octets] == ':' && port_at(part + octets + 1, 0) > 0 ? octets : 0;
  if (part[0] == '[') {
    const std::size_t length = length_of(part, [](char c) { return c != ']'; });
    return part[length] == ']' && part[length + 1] == ':' && port_at(part + length + 2, 0) > 0 ? length + 1
                                                                                               : 0;
  }
  std::size_t length = length_of(part, is_host);
  const bool is_unix = length == 4 && starts_with(part, "unix");
  if (is_unix && part[length] == '(') {
    length += 1 + length_of(part + length + 1, is_decimal);
    if (part[length++] != ')') return 0;
  }
  if (length == 0 || part[length] != ':') return 0;
  return port_at(part + length + 1, is_unix ? 0 : kLeastClientPort) > 0 ? length : 0;
}

// True if the server's limit may have cut a "host:port" here. No word is mistaken for that.
bool is_begun_host(const char* part) {
  if (starts_with(part, "unix") || starts_with("unix", part)) return true;
  return (is_decimal(part[0]) || part[0] == '[') && is_all(part, std::strlen(part), [](char c) {
           return is_hex(c) || std::strchr(".:[]", c) != nullptr;
         });
}

void cut_host(char* name) {
  const char* part = last_part(name);
  if (part == nullptr || part - name == 3) return;
  if (host_of(part) > 0) name[part - name - 3] = '\0';
}

void cut_begun_host(char* name) {
  const std::size_t length = std::strlen(name);
  if (length != kNameSize - 1) return;
  std::size_t end = length;
  if (const char* part = last_part(name); part != nullptr && is_begun_host(part))
    end = static_cast<std::size_t>(part - name) - 3;
  else if (ends_with(name, length, " -"))
    end = length - 2;
  else if (ends_with(name, length, " "))
    end = length - 1;
  if (end > 0) name[end] = '\0';
}

// Returns false if the name contains no address. The port is unknown if the server's limit may have cut it.
bool read_named_client(const char* name, ClientAddress* client) {
  const char* const part = last_part(name);
  const std::size_t host = part != nullptr ? host_of(part) : 0;
  if (host == 0) return false;
  const std::size_t brackets = part[0] == '[' ? 1 : 0;
  const std::size_t length = host - 2 * brackets;
  char text[kAddressSize] = {};
  if (length >= sizeof(text)) return false;
  std::memcpy(text, part + brackets, length);

  unsigned char address[16];
  const int family = brackets > 0 ? AF_INET6 : AF_INET;
  if (inet_pton(family, text, address) != 1) return false;
  inet_ntop(family, address, client->address, sizeof(client->address));
  client->port = kPortUnknown;
  if (std::strlen(name) == kNameSize - 1) return true;
  for (const char* c = part + host + 1; *c != '\0'; c++) client->port = client->port * 10 + *c - '0';
  return true;
}

// "DBeaver 23.1 - SQLEditor <Script-7.sql>", "pgAdmin 4 - CONN:1234567".
void cut_title(char* name) {
  if (!starts_with(name, "DBeaver") && !starts_with(name, "pgAdmin")) return;
  if (char* title = std::strstr(name, " - "); title != nullptr) *title = '\0';
}

}  // namespace

void normalize_application_name(char* name) {
  // What has gone at the end may have hidden more of it.
  constexpr int kMostPasses = 16;
  cut_title(name);
  cut_begun_host(name);
  std::size_t length = std::strlen(name) + 1;
  for (int i = 0; i < kMostPasses && std::strlen(name) < length; i++) {
    length = std::strlen(name);
    cut_host(name);
    mark_changes(name);
    cut_marked_end(name);
  }
  for (; *name != '\0'; name++)
    if (*name == kMark) *name = '*';
}

ClientAddress shown_client(const SessionIdentity& who) {
  ClientAddress client{};
  if (read_named_client(who.application_name, &client)) return client;
  std::memcpy(client.address, who.client_address, sizeof(client.address));
  client.port = who.client_port;
  return client;
}

}  // namespace pgleak
