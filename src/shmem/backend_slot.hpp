// Owns: what a client backend publishes about itself, and the look-up of it by others.
// Written by guest.cpp inside the backend, read by the scanner and the SQL functions without a lock.
// Must never allocate, block or ereport: one side of it runs at the end of every transaction.
#ifndef PGLEAK_SHMEM_BACKEND_SLOT_HPP
#define PGLEAK_SHMEM_BACKEND_SLOT_HPP

#include <atomic>
#include <cstdint>
#include <optional>

#include "core/episode.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/seqlock.hpp"
#include "core/session.hpp"
#include "pg/backend_status.hpp"

namespace pgleak {

// Who occupies the slot. Zero pid: nobody ever did.
struct BackendOwner {
  SessionId session;
  std::int32_t proc_index;  // position in ProcGlobal->allProcs
  std::int32_t encoding;    // of the session's database
  bool is_superuser;        // of its role at login
  char database[kNameSize];
  char role[kNameSize];
};

// What the guest publishes of its transactions.
struct TransactionReport {
  XactSeq ended_count;
  TransactionEnd last_end;
  WallTime last_end_start;
};

class BackendSlot {
 public:
  // --- the guest's side ---

  // Takes the slot for a new session. The count of ended transactions goes on from the slot's last
  // owner, so that a xact_seq names one transaction of the slot for ever.
  void claim(const BackendOwner& owner, const LimitValues& own_limits,
             std::optional<Impact> own_action_min_impact) {
    ended_.store(pack(count_of(ended_.load(std::memory_order_relaxed)), TransactionEnd::kNone),
                 std::memory_order_relaxed);
    owner_.write([&owner](BackendOwner* value) { *value = owner; });
    publish_limits(own_limits, own_action_min_impact);
  }

  // What the session has of its own; where it follows the server it says nothing.
  void publish_limits(const LimitValues& own_limits, std::optional<Impact> own_action_min_impact) {
    own_action_min_impact_.store(own_action_min_impact, std::memory_order_relaxed);
    for (int i = 0; i < kLimitCount; i++)
      own_limits_[i].store(own_limits.value[i], std::memory_order_relaxed);
  }

  // Says that the transaction is over. `xact_start`, when it began, counts only if it was rolled back.
  void publish_end(TransactionEnd how, WallTime xact_start) {
    const XactSeq ending = count_of(ended_.load(std::memory_order_relaxed));
    if (how == TransactionEnd::kRolledBack) last_end_start_.store(xact_start, std::memory_order_relaxed);
    ended_.store(pack(ending + 1, how), std::memory_order_release);
    // Against watch(): of two crossing parties at least one must see the other's store (Dekker).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (watched_.load(std::memory_order_relaxed) == ending)
      watched_end_.store(how, std::memory_order_release);
  }

  // The transaction that the scanner has an episode of, if any: see watch().
  XactSeq watched() const { return watched_.load(std::memory_order_relaxed); }

  // --- the scanner's side ---

  // Asks the guest to remember how transaction `xact_seq` ends, however many follow it. False if it ended
  // so long ago that nobody knows any more how.
  bool watch(XactSeq xact_seq) {
    watched_end_.store(TransactionEnd::kNone, std::memory_order_relaxed);
    watched_.store(xact_seq, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // It may just have ended, before the guest could see the wish.
    const std::uint64_t ended = ended_.load(std::memory_order_acquire);
    if (count_of(ended) == xact_seq + 1) watched_end_.store(end_of(ended), std::memory_order_release);
    // A new session of the slot has erased how its predecessor's last transaction ended.
    const bool is_erased = count_of(ended) == xact_seq + 1 && end_of(ended) == TransactionEnd::kNone;
    return count_of(ended) <= xact_seq + 1 && !is_erased;
  }

  // How the watched transaction ended.
  TransactionEnd watched_end() const { return watched_end_.load(std::memory_order_acquire); }

  // --- every reader's side ---

  // False if the slot belongs to another session (or to none yet).
  bool read_owner(SessionId session, BackendOwner* owner) const {
    return owner_.read(owner) && owner->session == session;
  }

  LimitValues own_limits() const {
    LimitValues limits{};
    for (int i = 0; i < kLimitCount; i++) limits.value[i] = own_limits_[i].load(std::memory_order_relaxed);
    return limits;
  }

  std::optional<Impact> own_action_min_impact() const {
    return own_action_min_impact_.load(std::memory_order_relaxed);
  }

  TransactionReport report() const {
    const std::uint64_t ended = ended_.load(std::memory_order_acquire);
    return TransactionReport{count_of(ended), end_of(ended), last_end_start_.load(std::memory_order_relaxed)};
  }

 private:
  // Count and kind of the last end in one word, so that they are always read together.
  static constexpr int kEndBits = 3;
  static std::uint64_t pack(XactSeq count, TransactionEnd how) {
    return (count << kEndBits) | static_cast<std::uint64_t>(how);
  }
  static XactSeq count_of(std::uint64_t packed) { return packed >> kEndBits; }
  static TransactionEnd end_of(std::uint64_t packed) {
    return static_cast<TransactionEnd>(packed & ((1U << kEndBits) - 1));
  }

  std::atomic<std::uint64_t> ended_;
  std::atomic<WallTime> last_end_start_;
  std::atomic<XactSeq> watched_;
  std::atomic<TransactionEnd> watched_end_;
  std::atomic<Micros> own_limits_[kLimitCount];
  std::atomic<std::optional<Impact>> own_action_min_impact_;
  static_assert(std::atomic<std::optional<Impact>>::is_always_lock_free, "processes share it");
  SeqLock<BackendOwner> owner_;
};

// What a status entry and the report of its backend say together, if both are of the same moment.
inline SessionStatus combine(const StatusEntry& entry, const TransactionReport& report) {
  return SessionStatus{entry.id,           entry.state,     entry.xact_start,     entry.state_start,
                       report.ended_count, report.last_end, report.last_end_start};
}

}  // namespace pgleak

#endif
