// Owns: the rules of reaching into an idle backend: the scanner's, what to do next and when to give up, and
// the target's, whether it is safe to act.
// Called by server/action_runner and server/in_place with what they see.
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
// position. Once it has been seen asleep in the client read *after* that, its stack is unwound, which the
// second message says by naming the first; and if the target has handled none but messages of our kind since,
// nothing of that kind can be under way: only then does it act. If another message came in between, ours
// counts as a new first one.
struct Handshake {
  std::uint8_t attempts;     // messages sent
  MonotonicTime started_at;  // none: none under way
};

enum class Step : std::uint8_t {
  kWait,  // ask again shortly, or when woken
  kSend,  // send the next message; unless it is the first, the target has slept since the last one
  kDone,
  kRefused,
  kGiveUp,
};

inline constexpr std::uint8_t kMaxMessages = 16;
inline constexpr Micros kHandshakeTimeout = 500 * kMillisecond;

// `reply` is the answer to the last message sent, `is_asleep` whether the target was seen asleep in the
// client read, looked at *after* the reply. kSend must be followed by note_sent().
Step next_step(const Handshake& handshake, Reply reply, bool is_asleep, MonotonicTime now);

void note_sent(Handshake* handshake, MonotonicTime now);

// The target's side. Messages of our kind make nobody rebuild anything, so it is harmless to be handled
// inside of one. Whether all that were handled since some moment are of our kind, the count of all messages
// tells, as long as no call is taken for a message of its own that the server has not counted: a session's
// own changes come to us without being counted. Zero-initialised is fresh.
class MessageGate {
 public:
  // One of our kind is being handled, whoever it is for. `position` is the number of messages that the server
  // has counted, this one included.
  void note_message(std::uint64_t position) {
    if (position - last_position_ > 1) run_start_ = position;
    last_position_ = position;
  }

  // The message that was noted last, `nonce`, is where we stand.
  void note_probe(std::uint32_t nonce) {
    probe_nonce_ = nonce;
    probe_position_ = last_position_;
  }

  // True if the message that was noted last may be acted on: the session has slept since message `probed`
  // (0: not known to have), and has handled none but messages of our kind since that.
  bool is_open(std::uint32_t probed) const {
    return probed != 0 && probed == probe_nonce_ && run_start_ <= probe_position_;
  }

 private:
  std::uint64_t last_position_;  // of a message of our kind
  std::uint64_t run_start_;      // the first of those that have followed one another up to it
  std::uint64_t probe_position_;
  std::uint32_t probe_nonce_;  // 0: none
};

}  // namespace pgleak

#endif
