// Owns: the hooks at a client's statements: what the server runs on its way into the executor and into
// utility statements. They keep the session's trail (core/trail.hpp) and call the guard of COMMIT. Runs
// inside client backends at every statement. Must never allocate, block, or ereport but for the guard.
#ifndef PGLEAK_SERVER_STATEMENT_HOOKS_HPP
#define PGLEAK_SERVER_STATEMENT_HOOKS_HPP

namespace pgleak {

// From _PG_init, while the server preloads libraries, after the settings are defined.
void install_statement_hooks();

}  // namespace pgleak

#endif
