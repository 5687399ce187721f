// Owns: the scanner's side of reaching into an idle backend: what to do next, and when to give up.
// Called by server/action_runner with what it sees; the target's side is server/in_place.
// Must never allocate, know the server or read a clock. Never ereports.
#ifndef PGLEAK_CORE_HANDSHAKE_HPP
#define PGLEAK_CORE_HANDSHAKE_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// What the target answered to the message with the current nonce.
enum class Reply : std::uint8_t {
  kNone,     // nothing yet
  kProbed,   // it saw the message and noted its position in the stream of messages
  kActing,   // it is about to act; what it shows of itself is not to be judged
  kDone,     // it has acted
  kRefused,  // it is not what was judged any more: active, or in another transaction
};

// Two phases, because a message may be handled in the middle of work that must not be aborted (a relation
// cache entry being rebuilt for an earlier message). The first message only makes the target note its
// position. Once it has been seen asleep in the client read *after* that, its stack is unwound, and if the
// next message it handles is ours, nothing of that kind can be under way: only then does it act. If another
// message came in between, ours counts as a new first one.
struct Handshake {
  std::uint8_t attempts;     // messages sent
  MonotonicTime started_at;  // 0: none under way
};

enum class Step : std::uint8_t {
  kWait,  // ask again shortly, or when woken
  kSend,  // send the next message
  kDone,
  kRefused,
  kGiveUp,
};

inline constexpr std::uint8_t kMaxMessages = 16;
inline constexpr Micros kHandshakePatience = 500 * kMillisecond;

// `reply` is the answer to the last message sent, `is_asleep` whether the target was seen asleep in the
// client read, looked at *after* the reply. kSend must be followed by note_sent().
Step next_step(const Handshake& handshake, Reply reply, bool is_asleep, MonotonicTime now);

void note_sent(Handshake* handshake, MonotonicTime now);

}  // namespace pgleak

#endif
