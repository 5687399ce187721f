// Owns: telling the scanner, which cannot read catalogs, the CONNECTION LIMITs of the pools' roles and
// databases. Called by the recorder every few seconds, inside a transaction, on a standby too.
#ifndef PGLEAK_SERVER_CONNECTION_LIMITS_HPP
#define PGLEAK_SERVER_CONNECTION_LIMITS_HPP

namespace pgleak {

// Looks the limits of all pools up and publishes them. May ereport, as all access to catalogs does.
void publish_connection_limits();

}  // namespace pgleak

#endif
