#include <csignal>

#include "backend/backend.hpp"
#include "pg/libpq.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/snapmgr.h"
}

namespace pgleak {

namespace {

volatile sig_atomic_t has_published_exported = false;

}  // namespace

SessionSlot* my_slot = nullptr;
Trail* my_trail = nullptr;
std::uint32_t my_care = 0;

bool is_in_aborted_block() {
  return IsAbortedTransactionBlockState() && GetCurrentTransactionNestLevel() == 1;
}

void copy_login_names(char (&database)[kNameSize], char (&role)[kNameSize]) {
  strlcpy(database, MyProcPort->database_name != nullptr ? MyProcPort->database_name : "", kNameSize);
  strlcpy(role, MyProcPort->user_name != nullptr ? MyProcPort->user_name : "", kNameSize);
}

void describe_my_socket(ClientSocket* socket) {
  describe_socket(MyProcPort->sock, reinterpret_cast<const sockaddr*>(&MyProcPort->laddr.addr),
                  reinterpret_cast<const sockaddr*>(&MyProcPort->raddr.addr), socket);
}

bool spares(bool spares_exported) {
  if (!spares_exported || !XactHasExportedSnapshots()) return false;
  has_published_exported = true;
  active_action.is_touched = true;
  my_slot->backend.publish_exported(true);
  return true;
}

void forget_exported() {
  if (!has_published_exported) return;
  has_published_exported = false;
  my_slot->backend.publish_exported(false);
}

bool is_login_superuser() {
  // The login role, not one that ALTER ROLE ... SET role gave the session. Needs no catalog access.
  return GetSessionUserIsSuperuser();
}

}  // namespace pgleak
