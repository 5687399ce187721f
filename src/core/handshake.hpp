// The protocol for acting in an idle backend: what the scanner does next and when it gives up, and whether it
// is safe for the target to act.
//
// core/decision runs the scanner's side, backend/in_place.cpp the target's. Reads no clock, allocates
// nothing, never ereports.
#ifndef PGLEAK_CORE_HANDSHAKE_HPP
#define PGLEAK_CORE_HANDSHAKE_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// The target's reply to the message with the current nonce.
enum class Reply : std::uint8_t {
  kNone,     // nothing yet
  kProbed,   // it has noted its position in the stream of messages
  kActing,   // it is about to act; ignore its visible state
  kDone,     // it has acted
  kRefused,  // its state has changed: active, or in another transaction
};

// Two phases, because a message may be handled in the middle of work that must not be aborted, such as
// rebuilding a relation cache entry for an earlier message. The first message only makes the target note its
// position. Once it was seen asleep in the client read *after* that, its stack is unwound; the second message
// says so by naming the first. If the target has handled only messages of our kind since, no such work can be
// in progress, and it acts. If another message came in between, ours counts as a new first message.
struct Handshake {
  std::uint8_t attempts;     // messages sent
  MonotonicTime started_at;  // none: not started
};

enum class Step : std::uint8_t {
  kWait,  // check again soon, or when woken
  kSend,  // send the next message; unless it is the first, the target was asleep after the last one
  kDone,
  kRefused,
  kGiveUp,
};

inline constexpr std::uint8_t kMaxMessages = 16;
inline constexpr Micros kHandshakeTimeout = 500 * kMillisecond;

// `reply` answers the last message; `is_asleep` says whether the target was seen asleep in the client read
// *after* the reply was read. After kSend, call note_sent().
Step next_step(const Handshake& handshake, Reply reply, bool is_asleep, MonotonicTime now);

void note_sent(Handshake* handshake, MonotonicTime now);

// The target's side. Messages of our kind make no module rebuild anything, so acting inside the handling of
// one is harmless. The server's count of all messages tells whether only ours were handled since some moment,
// as long as an uncounted call is not taken for a message: a session's own changes reach the callback without
// being counted. Zero-initialized means that none was handled.
class MessageGate {
 public:
  // A message of our kind is being handled, whatever its target. `position` is the server's count of
  // messages, including this one.
  void note_message(std::uint64_t position) {
    if (position - last_position_ > 1) run_start_ = position;
    last_position_ = position;
  }

  // The last message noted carried `nonce`: remember it as a probe.
  void note_probe(std::uint32_t nonce) {
    probe_nonce_ = nonce;
    probe_position_ = last_position_;
  }

  // True if the last message noted may be acted on: the session has been asleep since message `probed` (0:
  // not known), and has handled only messages of our kind since.
  bool is_open(std::uint32_t probed) const {
    return probed != 0 && probed == probe_nonce_ && run_start_ <= probe_position_;
  }

 private:
  std::uint64_t last_position_;  // of the last message of our kind
  std::uint64_t run_start_;      // first message of the unbroken run of our kind up to it
  std::uint64_t probe_position_;
  std::uint32_t probe_nonce_;  // 0: none
};

}  // namespace pgleak

#endif
