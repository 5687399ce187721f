#include "backend/backend.hpp"
#include "core/tag_text.hpp"

extern "C" {
#include "access/xact.h"
}

namespace pgleak {

namespace {

// The message that was read last, by when it arrived, and for which transaction. The statements of a function
// find the client's message read.
TimestampTz message_at = 0;
XactSeq message_seq = 0;

}  // namespace

void publish_tags(const char* message, std::size_t length) {
  if (my_slot == nullptr) return;
  const XactSeq xact_seq = my_block_seq();
  if (message_at == GetCurrentStatementStartTimestamp() && message_seq == xact_seq) return;
  message_at = GetCurrentStatementStartTimestamp();
  message_seq = xact_seq;
  const TagComments comments = find_tag_comments(message, length);
  if (!comments.is_empty() || has_care(kTagSetting))
    my_slot->backend.publish_tags(xact_seq, comments, settings.tags);
}

// When a transaction ends, the server takes back what it has SET LOCAL. That must not reach the tags of an
// aborted block, which is still there.
void note_tag_setting(const char* value) {
  set_care(kTagSetting, value[0] != '\0');
  if (my_slot == nullptr || !IsTransactionState()) return;
  my_slot->backend.publish_tags(my_block_seq(), TagComments{}, value);
}

}  // namespace pgleak
