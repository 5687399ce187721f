// Which application an application_name stands for: the name without what makes it different in each process,
// connection or window.
//
// Pools, offenders, the report and the metrics group by it; leaks and the history keep the full name. Reads
// no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_APPLICATION_NAME_HPP
#define PGLEAK_CORE_APPLICATION_NAME_HPP

#include <cstdint>

#include "core/session.hpp"

namespace pgleak {

// Shortens `name` in place. At its end, what differs in each process goes, with what joins it to the rest;
// elsewhere it becomes '*'. A name that is nothing else becomes "*", an empty one stays empty. The result is
// a fixed point: applied to it again, the function changes nothing.
//
// Names are chosen by people, so what may be part of one stays: "app1", "orders-v2", "shop-eu-west-1",
// "web.1", "odoo-17", "sales-2024", and versions. These differ in each process:
//
// - " - host:port", which PgBouncer appends with application_name_add_host, even where the server's limit of
//   63 bytes has cut it
// - UUIDs, IPv4 addresses, names of hosts after an '@' or like ip-10-0-0-1, long random identifiers
// - numbers of four digits and more, except years; any number in brackets or after a word such as "worker"
//   or "pid"; how many threads are busy
// - the suffixes of pods: name-<hash of the ReplicaSet>-<5 characters>
// - what follows the version in the title of a window of DBeaver or pgAdmin
void normalize_application_name(char* name);

// Where a session's client is.
struct ClientAddress {
  char address[kAddressSize];  // numeric; empty for Unix sockets
  std::int32_t port;
};

// Where PgBouncer's " - host:port" in the name says that the client is, or else where the connection comes
// from. Any client can choose such a name, so this is for display alone: nothing may be permitted, or done to
// the session, because of it.
ClientAddress shown_client(const SessionIdentity& who);

}  // namespace pgleak

#endif
