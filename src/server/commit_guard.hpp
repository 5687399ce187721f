// Owns: the guard that makes COMMIT fail loudly after a transaction was rolled back in place.
// Runs inside client backends at every utility statement.
#ifndef PGLEAK_SERVER_COMMIT_GUARD_HPP
#define PGLEAK_SERVER_COMMIT_GUARD_HPP

namespace pgleak {

// From _PG_init, while the server preloads libraries.
void install_commit_guard();

}  // namespace pgleak

#endif
