// Owns: knowing that nothing in any table can have changed, without looking into one. Called by the recorder,
// which would look every few seconds. Reads shared memory only, never ereports.
#ifndef PGLEAK_SERVER_CHANGE_WATCH_HPP
#define PGLEAK_SERVER_CHANGE_WATCH_HPP

#include "core/change_watch.hpp"

namespace pgleak {

// ChangeWatch::may_find_news for changes of tables and catalogs: what is counted are transactions that have
// written something and are over. The server tells of changed catalogs a moment after that. On a standby it
// is always true.
bool may_find_news(ChangeWatch* watch, MonotonicTime now);

}  // namespace pgleak

#endif
