// Prepared transactions in shared memory: one slot for each that the server can have
// (max_prepared_transactions), in the order of their processes; and for each session, the one that it has
// prepared. None of it is there if the server can have none.
//
// Never allocates, blocks or ereports.
#ifndef PGLEAK_SHMEM_PREPARED_MEMORY_HPP
#define PGLEAK_SHMEM_PREPARED_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/contention.hpp"
#include "core/prepared.hpp"
#include "core/seqlock.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

// What the scanner knows about the prepared transaction of one slot. Readers get a whole copy.
struct PreparedRecord {
  bool is_open;  // `episode` is an open leak
  Episode episode;
  char gid[kGidSize];  // of the episode's transaction; empty: not known
  PreparedClocks clocks;
  ImpactSample impact;  // of the open episode, as of the last scan
  Ending pending_end;   // of `episode`, which is closed; waiting until the queue has room
};

class PreparedSlot {
 public:
  SeqLock<PreparedTransaction> listed;  // written by the recorder
  SeqLock<PreparedRecord> scanner;      // written by the scanner
  SeqLock<Contention> contention;       // written by the scanner: of the open episode, by its id

  // Scanner: asks the recorder how transaction `xid` ended.
  void ask_fate(std::uint32_t xid) { asked_.store(xid, std::memory_order_relaxed); }

  // Recorder: the transaction that the scanner asks for and that has no answer yet; 0: none.
  std::uint32_t asked() const {
    const std::uint32_t xid = asked_.load(std::memory_order_relaxed);
    return fate_of(xid) == PreparedFate::kNone ? xid : 0;
  }
  void answer(std::uint32_t xid, PreparedFate fate) {
    fate_.store((static_cast<std::uint64_t>(xid) << 8) | static_cast<std::uint64_t>(fate),
                std::memory_order_relaxed);
  }

  // Scanner: how transaction `xid` ended; kNone: there is no answer yet.
  PreparedFate fate_of(std::uint32_t xid) const {
    const std::uint64_t packed = fate_.load(std::memory_order_relaxed);
    return (packed >> 8) == xid ? static_cast<PreparedFate>(packed & 0xFF) : PreparedFate::kNone;
  }

 private:
  std::atomic<std::uint32_t> asked_;
  std::atomic<std::uint64_t> fate_;  // transaction id and PreparedFate
};

// What a session's transaction became that ended with PREPARE TRANSACTION.
struct PreparedBySession {
  XactSeq xact_seq;
  std::uint32_t xid;
  char gid[kGidSize];  // in the encoding of the session's database
};

// Backend of session slot `index`: publishes what transaction `ending` becomes. Call it before publish_end().
// Keeps what became of the `watched` transaction, however many are prepared after it.
void publish_prepared(int index, XactSeq ending, XactSeq watched, std::uint32_t xid, const char* gid);

// Copies what transaction `xact_seq` of session slot `index` became. Returns false if it was not prepared, or
// that is not known.
bool read_prepared_by(int index, XactSeq xact_seq, PreparedBySession* prepared);

// 0 <= place < prepared_place_count().
PreparedSlot& prepared_slot(int place);

// The bytes that all of them take, and their creation. The caller holds AddinShmemInitLock. May ereport.
Size prepared_memory_size();
void create_prepared_memory();

}  // namespace pgleak

#endif
