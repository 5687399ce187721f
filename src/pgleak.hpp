// Owns: the names by which pgleak.cpp, which loads the module, knows the parts that run.
#ifndef PGLEAK_PGLEAK_HPP
#define PGLEAK_PGLEAK_HPP

namespace pgleak {

// Each arranges, from _PG_init while the server preloads libraries, that its part runs later.
void install_backend();
void install_scanner();
void install_recorder();

}  // namespace pgleak

#endif
