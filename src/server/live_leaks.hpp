// Owns: looking at the open leaks and their sessions for the live views: each session at one moment, and all
// views of a query at the same one. Called by functions.cpp. Reads shared memory only.
#ifndef PGLEAK_SERVER_LIVE_LEAKS_HPP
#define PGLEAK_SERVER_LIVE_LEAKS_HPP

#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/trail.hpp"
#include "server/backend_status.hpp"
#include "server/postgres.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pgleak {

// One open episode and its session.
struct LiveLeak {
  ScannerView view;
  StatusEntry entry;
  SessionIdentity who;
  Ages ages;
  const char* statement;  // as the status array has it
  int statement_length;
  const TrailEntry* trail;
  int trail_length;
  const LiveLeak* next;
};

// The open leaks, in the order of their slots; nullptr if there are none. They live as long as `query`, and
// whoever asks again in the same query gets the same ones. May ereport (out of memory).
const LiveLeak* live_leaks(EState* query);

}  // namespace pgleak

#endif
