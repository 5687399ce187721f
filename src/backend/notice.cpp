// Tells the client why its transaction was rolled back, together with the answer to its next statement.
//
// After a rollback in place, the first statement fails with "current transaction is aborted", which says
// nothing of the cause. The server offers no hook that may add to an error on its way to the client. So this
// writes a NoticeResponse of its own into the send buffer and does not flush it: it leaves with the next
// answer. A client that reads nothing sees nothing, and a pool that checks an idle connection for unexpected
// bytes finds none.
#include "backend/backend.hpp"
#include "core/text.hpp"
#include "pg/libpq.hpp"

extern "C" {
#include "tcop/tcopprot.h"
#include "utils/guc.h"
}

namespace pgleak {

namespace {

// The fields of a NoticeResponse: each is its code and a text with a NUL. A conversion to the client's
// encoding may raise an error, so only ASCII is sent: the name of a role may lose characters.
struct Fields {
  char bytes[kReasonSize + 256];
  std::size_t length;

  void add(char code, const char* text) {
    const std::size_t size = strlen(text) + 1;
    if (length + 1 + size + 1 > sizeof(bytes)) return;
    bytes[length] = code;
    for (std::size_t i = 0; i < size; i++) bytes[length + 1 + i] = IS_HIGHBIT_SET(text[i]) ? '?' : text[i];
    length += 1 + size;
  }
};

}  // namespace

void queue_notice(const ActionReason& reason) {
  if (whereToSendOutput != DestRemote || client_min_messages > NOTICE) return;
  char why[kReasonSize];
  char message[kReasonSize + 64];
  describe_reason(reason, why);
  TextBuffer text(message, sizeof(message));
  text.append("transaction was rolled back by pgleak: ");
  text.append(why);

  Fields fields{};
  fields.add('S', "NOTICE");
  fields.add('V', "NOTICE");
  fields.add('C', "40000");
  fields.add('M', message);
  fields.add('H', "Roll back, then retry the whole transaction.");
  fields.bytes[fields.length++] = '\0';
  // The result is of no use: a connection that is broken shows that at its next message.
  (void)pq_putmessage('N', fields.bytes, fields.length);
}

}  // namespace pgleak
