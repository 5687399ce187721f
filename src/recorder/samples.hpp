// Tables of samples, for the curves of pgleak.report(): a sample once a minute, in a transaction of its own
// apart from the history's, and pruning by the limits of the history.
//
// No failure here delays an event: it is told, and the next attempt waits for a minute. A sample that could
// not be taken stays a gap.
#ifndef PGLEAK_RECORDER_SAMPLES_HPP
#define PGLEAK_RECORDER_SAMPLES_HPP

#include "core/time.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "executor/spi.h"
}

namespace pgleak {

// One of these tables. A process has one object for each, which remembers what is due.
struct SampleTable {
  const char* name;         // in the schema pgleak; its key begins with taken_at
  const char* take_sample;  // the INSERT, without parameters
  MonotonicTime sample_at;
  MonotonicTime prune_at;
  SPIPlanPtr take;
  SPIPlanPtr prune_old;
  SPIPlanPtr prune_surplus;
};

// Takes a sample once a minute and at the start of this process, and prunes old ones. Does nothing on a
// standby. The caller resets `context`. Errors are logged, and leave a gap. Never ereports an ERROR.
void maintain_samples(SampleTable* table, MemoryContext context);

}  // namespace pgleak

#endif
