// The channel between the scanner and one backend for an action: the request, written by the scanner, and the
// reply, written by the target.
//
// Never allocates, blocks or ereports; one side of it runs in the client read of a backend.
#ifndef PGLEAK_SHMEM_ACTION_REQUEST_HPP
#define PGLEAK_SHMEM_ACTION_REQUEST_HPP

#include <atomic>
#include <cstdint>

#include "core/action.hpp"
#include "core/episode.hpp"
#include "core/handshake.hpp"
#include "core/seqlock.hpp"

namespace pgleak {

struct ActionRequest {
  std::uint32_t nonce;   // of the message that carries this request; 0: no request
  std::uint32_t probed;  // previous nonce, if the session was seen asleep after that message; else 0
  Action action;
  SessionId session;
  XactSeq xact_seq;      // of the transaction to act on
  WallTime state_start;  // when the session entered the state that was judged
  MonotonicTime expires_at;
  bool spares_exported;  // not if the transaction has exported its snapshot: others depend on it
  ActionReason reason;
};

// What a SIGINT of the scanner asks of an active session. Read by the target's signal handler.
struct ArmedSignal {
  std::uint32_t nonce;  // 0: no signal of the scanner is under way
  Action action;
  bool spares_exported;  // as in ActionRequest
  XactSeq xact_seq;      // of the one transaction that is meant
};

class ActionSlot {
 public:
  SeqLock<ActionRequest> request;

  void reply(std::uint32_t nonce, Reply reply) {
    reply_.store((static_cast<std::uint64_t>(nonce) << 8) | static_cast<std::uint64_t>(reply),
                 std::memory_order_release);
  }

  // The reply to the message with this nonce; kNone if there is none yet.
  Reply reply_to(std::uint32_t nonce) const {
    const std::uint64_t packed = reply_.load(std::memory_order_acquire);
    return (packed >> 8) == nonce ? static_cast<Reply>(packed & 0xFF) : Reply::kNone;
  }

  // The state_start that a rollback in place gave to the session. It is not a sign of life of the client,
  // whose idle time goes on.
  std::atomic<WallTime> aborted_at;

  // Scanner: before it sends SIGINT, and when that is answered or given up.
  void arm_signal(const ArmedSignal& armed) {
    armed_seq_.store(armed.xact_seq, std::memory_order_relaxed);
    armed_.store((static_cast<std::uint64_t>(armed.nonce) << 8) |
                     (armed.spares_exported ? kSparesExported : 0) | static_cast<std::uint64_t>(armed.action),
                 std::memory_order_release);
  }
  void disarm_signal() { armed_.store(0, std::memory_order_release); }

  // Target, in a signal handler.
  ArmedSignal armed_signal() const {
    const std::uint64_t packed = armed_.load(std::memory_order_acquire);
    return ArmedSignal{static_cast<std::uint32_t>(packed >> 8), static_cast<Action>(packed & 0x7F),
                       (packed & kSparesExported) != 0, armed_seq_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<std::uint64_t> reply_;
  static constexpr std::uint64_t kSparesExported = 0x80;
  std::atomic<std::uint64_t> armed_;  // nonce and action; announces armed_seq_
  std::atomic<XactSeq> armed_seq_;
};

}  // namespace pgleak

#endif
