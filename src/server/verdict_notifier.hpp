// Owns: the notifications about changed verdicts on pools. Called by the recorder.
#ifndef PGLEAK_SERVER_VERDICT_NOTIFIER_HPP
#define PGLEAK_SERVER_VERDICT_NOTIFIER_HPP

#include <cstdint>

namespace pgleak {

// Sends one NOTIFY for each of the `count` oldest notices, which stay in their queue: the caller finishes
// them after the commit. Inside a transaction. May ereport.
void notify_verdicts(std::uint64_t count);

}  // namespace pgleak

#endif
