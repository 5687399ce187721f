// Owns: the words for why an action was taken, the same in the log, in the client's error and in the FATAL.
// Called by in_place and commit_guard inside client backends, and by the scanner. Never ereports.
#ifndef PGLEAK_SERVER_ACTION_TEXT_HPP
#define PGLEAK_SERVER_ACTION_TEXT_HPP

#include "server/action_request.hpp"

namespace pgleak {

inline constexpr int kReasonSize = 256;

// "it was idle in a transaction for 61.2s, the limit is 60s"; "role \"x\" asked for it; ..." for an action by
// hand.
void describe_reason(const ActionReason& reason, char (&text)[kReasonSize]);

}  // namespace pgleak

#endif
