// What a client backend publishes about itself, and how others read it. The backend writes; the scanner and
// the SQL functions read, without a lock.
//
// Never allocates, blocks or ereports: the writer runs at the end of every transaction.
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
#include "core/tag_text.hpp"
#include "pg/backend_status.hpp"
#include "pg/socket_queue.hpp"

namespace pgleak {

// The session in the slot. pid 0: the slot has never been used.
struct BackendOwner {
  SessionId session;
  std::int32_t proc_index;  // position in ProcGlobal->allProcs
  std::int32_t encoding;    // of the session's database
  bool is_superuser;        // the login role is a superuser
  char database[kNameSize];
  char role[kNameSize];
};

// What the backend publishes about its transactions.
struct TransactionReport {
  XactSeq ended_count;
  TransactionEnd last_end;
  WallTime last_end_start;
};

class BackendSlot {
 public:
  // --- called by the backend ---

  // Claims the slot for a new session. The count of ended transactions continues from the slot's previous
  // owner, so an xact_seq is unique in the slot until the server restarts.
  void claim(const BackendOwner& owner, const LimitValues& own_limits,
             std::optional<Impact> own_action_min_impact) {
    ended_.store(pack(count_of(ended_.load(std::memory_order_relaxed)), TransactionEnd::kNone),
                 std::memory_order_relaxed);
    owner_.write([&owner](BackendOwner* value) { *value = owner; });
    publish_limits(own_limits, own_action_min_impact);
    publish_declared(false);
    publish_exported(false);
    publish_debris(false);
    publish_listens(false);
    tag_text_.write([](TagText* text) { text->xact_seq = kNoXact; });
  }

  // Publishes the session's own values; unset where the session follows the server.
  void publish_limits(const LimitValues& own_limits, std::optional<Impact> own_action_min_impact) {
    own_action_min_impact_.store(own_action_min_impact, std::memory_order_relaxed);
    for (int i = 0; i < kLimitCount; i++)
      own_limits_[i].store(own_limits.value[i], std::memory_order_relaxed);
  }

  // Publishes that the transaction has ended. `xact_start`, its start, counts only after a rollback.
  void publish_end(TransactionEnd how, WallTime xact_start) {
    const XactSeq ending = count_of(ended_.load(std::memory_order_relaxed));
    if (how == TransactionEnd::kRolledBack) last_end_start_.store(xact_start, std::memory_order_relaxed);
    ended_.store(pack(ending + 1, how), std::memory_order_release);
    // Pairs with the fence in watch(): at least one of the two sides must see the other's store (Dekker's
    // algorithm).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (watched_.load(std::memory_order_relaxed) == ending)
      watched_end_.store(how, std::memory_order_release);
  }

  // Publishes whether the session has set idle_in_transaction_session_timeout to 0 itself, as pg_dump and
  // other tools do that are idle in a transaction on purpose.
  void publish_declared(bool is_declared) { is_declared_.store(is_declared, std::memory_order_relaxed); }

  // Publishes whether the transaction has exported a snapshot, on which others depend. Known only once an
  // action was refused because of that.
  void publish_exported(bool has_exported) { has_exported_.store(has_exported, std::memory_order_relaxed); }

  // Publishes whether a command runs that leaves an invalid object behind when it is cancelled, such as
  // CREATE INDEX CONCURRENTLY.
  void publish_debris(bool leaves_debris) { leaves_debris_.store(leaves_debris, std::memory_order_relaxed); }

  // Publishes whether the session LISTENs. If so, it holds the tail of the notification queue while it is in
  // a transaction, or while its client does not read.
  void publish_listens(bool listens) { listens_.store(listens, std::memory_order_relaxed); }

  // Publishes the session's connection, which stays the same until it ends.
  void publish_socket(const ClientSocket& socket) {
    socket_.write([&socket](ClientSocket* value) { *value = socket; });
  }

  // Publishes the tags of a statement of transaction `xact_seq`; see update_tag_text().
  void publish_tags(XactSeq xact_seq, const TagComments& comments, const char* setting) {
    tag_text_.write([&](TagText* text) { update_tag_text(text, xact_seq, comments, setting); });
  }

  // The transaction of the slot's open episode, if any; see watch().
  XactSeq watched() const { return watched_.load(std::memory_order_relaxed); }

  // --- called by the scanner ---

  // Asks the backend to keep how transaction `xact_seq` ends, however many follow it. Returns false if it
  // ended too long ago to tell.
  bool watch(XactSeq xact_seq) {
    watched_end_.store(TransactionEnd::kNone, std::memory_order_relaxed);
    watched_.store(xact_seq, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // It may have ended just now, before the backend could see the request.
    const std::uint64_t ended = ended_.load(std::memory_order_acquire);
    if (count_of(ended) == xact_seq + 1) watched_end_.store(end_of(ended), std::memory_order_release);
    // A new session of the slot has erased how its predecessor's last transaction ended.
    const bool is_erased = count_of(ended) == xact_seq + 1 && end_of(ended) == TransactionEnd::kNone;
    return count_of(ended) <= xact_seq + 1 && !is_erased;
  }

  // How the watched transaction ended; kNone if it has not.
  TransactionEnd watched_end() const { return watched_end_.load(std::memory_order_acquire); }

  // --- called by every reader ---

  // Copies the slot's owner. Returns false if the slot does not belong to `session`.
  bool read_owner(SessionId session, BackendOwner* owner) const {
    return owner_.read(owner) && owner->session == session;
  }

  // Copies the tags of the newest statement of transaction `xact_seq` that has any. Returns false, and empty
  // text, if there is none.
  bool read_tags(XactSeq xact_seq, TagText* text) const {
    if (tag_text_.read(text) && text->xact_seq == xact_seq) return true;
    clear(text);
    return false;
  }

  // Copies the session's connection. Returns false if the slot does not belong to `session`.
  bool read_socket(SessionId session, ClientSocket* socket) const {
    return socket_.read(socket) && socket->session == session;
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

  bool is_declared() const {
    return is_declared_.load(std::memory_order_relaxed) || has_exported_.load(std::memory_order_relaxed);
  }
  bool leaves_debris() const { return leaves_debris_.load(std::memory_order_relaxed); }
  bool listens() const { return listens_.load(std::memory_order_relaxed); }

 private:
  static constexpr XactSeq kNoXact = ~XactSeq{0};

  // The count and kind of the last end share one word, so that readers always get both from the same moment.
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
  std::atomic<bool> is_declared_;
  std::atomic<bool> has_exported_;
  std::atomic<bool> leaves_debris_;
  std::atomic<bool> listens_;
  SeqLock<BackendOwner> owner_;
  SeqLock<ClientSocket> socket_;
  SeqLock<TagText> tag_text_;
};

// Combines a status entry and the report of its backend, which must be of the same moment.
inline SessionStatus combine(const StatusEntry& entry, const TransactionReport& report) {
  return SessionStatus{entry.id,           entry.state,     entry.xact_start,      entry.state_start,
                       report.ended_count, report.last_end, report.last_end_start, false};
}

}  // namespace pgleak

#endif
