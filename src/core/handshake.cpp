#include "core/handshake.hpp"

#include "core/assert.hpp"

namespace pgleak {

Step next_step(const Handshake& handshake, Reply reply, bool is_asleep, MonotonicTime now) {
  if (reply == Reply::kDone) return Step::kDone;
  if (reply == Reply::kRefused) return Step::kRefused;
  if (reply == Reply::kActing) return Step::kWait;
  if (handshake.attempts == 0) return Step::kSend;
  if (now - handshake.started_at > kHandshakeTimeout) return Step::kGiveUp;
  if (reply == Reply::kNone || !is_asleep) return Step::kWait;
  return handshake.attempts < kMaxMessages ? Step::kSend : Step::kGiveUp;
}

void note_sent(Handshake* handshake, MonotonicTime now) {
  PGLEAK_ASSERT(now.is_set() && handshake->attempts < UINT8_MAX);
  if (handshake->attempts == 0) handshake->started_at = now;
  handshake->attempts++;
}

}  // namespace pgleak
