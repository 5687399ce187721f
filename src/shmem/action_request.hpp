// Owns: what the scanner asks of one backend, and what the backend answers, in shared memory.
// The request is written by the scanner and read in the target; the answer the other way round.
// Must never allocate, block or ereport.
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
  std::uint32_t nonce;   // of the message that carries the request; 0: no request
  std::uint32_t probed;  // of the earlier message since whose handling the session was seen asleep; 0: none
  Action action;
  SessionId session;
  XactSeq xact_seq;      // of the one transaction that is meant
  WallTime state_start;  // since when the session is in the state that was judged
  MonotonicTime expires_at;
  bool spares_exported;  // not if the transaction has exported its snapshot: others depend on it
  ActionReason reason;
};

// What a SIGINT of the scanner asks of an active session. Read by the target's signal handler.
struct ArmedSignal {
  std::uint32_t nonce;  // 0: no signal of the scanner is under way
  Action action;
  XactSeq xact_seq;  // of the one transaction that is meant
};

class ActionSlot {
 public:
  SeqLock<ActionRequest> request;

  void reply(std::uint32_t nonce, Reply reply) {
    reply_.store((static_cast<std::uint64_t>(nonce) << 8) | static_cast<std::uint64_t>(reply),
                 std::memory_order_release);
  }

  // The reply to the message with this nonce.
  Reply reply_to(std::uint32_t nonce) const {
    const std::uint64_t packed = reply_.load(std::memory_order_acquire);
    return (packed >> 8) == nonce ? static_cast<Reply>(packed & 0xFF) : Reply::kNone;
  }

  // After a rollback in place: the state_start that this has given the session. It is no sign of life of the
  // client, whose idle time goes on.
  std::atomic<WallTime> aborted_at;

  // Scanner: before it sends SIGINT, and when that is answered or given up.
  void arm_signal(const ArmedSignal& armed) {
    armed_seq_.store(armed.xact_seq, std::memory_order_relaxed);
    armed_.store((static_cast<std::uint64_t>(armed.nonce) << 8) | static_cast<std::uint64_t>(armed.action),
                 std::memory_order_release);
  }
  void disarm_signal() { armed_.store(0, std::memory_order_release); }

  // Target, in a signal handler.
  ArmedSignal armed_signal() const {
    const std::uint64_t packed = armed_.load(std::memory_order_acquire);
    return ArmedSignal{static_cast<std::uint32_t>(packed >> 8), static_cast<Action>(packed & 0xFF),
                       armed_seq_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<std::uint64_t> reply_;
  std::atomic<std::uint64_t> armed_;  // nonce and action; announces armed_seq_
  std::atomic<XactSeq> armed_seq_;
};

}  // namespace pgleak

#endif
