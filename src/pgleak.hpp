// The entry points through which pgleak.cpp installs the parts that run in processes of their own.
#ifndef PGLEAK_PGLEAK_HPP
#define PGLEAK_PGLEAK_HPP

namespace pgleak {

// Call each from _PG_init while the server preloads libraries. They only register; the code runs later. May
// ereport.
void install_backend();
void install_scanner();
void install_recorder();

}  // namespace pgleak

#endif
