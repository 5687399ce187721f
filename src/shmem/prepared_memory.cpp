#include "shmem/prepared_memory.hpp"

#include <new>

#include "pg/prepared_proc.hpp"

extern "C" {
#include "access/xact.h"
#include "storage/shmem.h"
}

namespace pgleak {

static_assert(kGidSize == GIDSIZE, "every identifier fits");

namespace {

using SessionCell = SeqLock<PreparedBySession>;

PreparedSlot* slots = nullptr;
SessionCell* by_session = nullptr;  // by session slot

Size slots_size() { return mul_size(static_cast<Size>(prepared_place_count()), sizeof(PreparedSlot)); }

}  // namespace

Size prepared_memory_size() {
  if (prepared_place_count() == 0) return 0;
  return add_size(slots_size(),
                  mul_size(static_cast<Size>(compat::status_slot_count()), sizeof(SessionCell)));
}

void create_prepared_memory() {
  bool found = false;
  if (prepared_place_count() == 0) return;
  char* const memory =
      static_cast<char*>(ShmemInitStruct("pgleak prepared transactions", prepared_memory_size(), &found));
  slots = reinterpret_cast<PreparedSlot*>(memory);
  by_session = reinterpret_cast<SessionCell*>(memory + slots_size());
  if (found) return;
  for (int i = 0; i < prepared_place_count(); i++) new (&slots[i]) PreparedSlot();  // all zero
  for (int i = 0; i < compat::status_slot_count(); i++) new (&by_session[i]) SessionCell();
}

void publish_prepared(int index, XactSeq ending, XactSeq watched, std::uint32_t xid, const char* gid) {
  if (by_session == nullptr) return;
  SessionCell& cell = by_session[index];
  const PreparedBySession& known = cell.current();
  if (watched != ending && known.gid[0] != '\0' && known.xact_seq == watched) return;
  cell.write([ending, xid, gid](PreparedBySession* value) {
    value->xact_seq = ending;
    value->xid = xid;
    copy_gid(value->gid, gid);
  });
}

bool read_prepared_by(int index, XactSeq xact_seq, PreparedBySession* prepared) {
  return by_session != nullptr && by_session[index].read(prepared) && prepared->gid[0] != '\0' &&
         prepared->xact_seq == xact_seq;
}

PreparedSlot& prepared_slot(int place) {
  Assert(place >= 0 && place < prepared_place_count());
  return slots[place];
}

}  // namespace pgleak
