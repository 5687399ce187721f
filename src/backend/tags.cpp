#include "backend/backend.hpp"
#include "core/tag_text.hpp"

extern "C" {
#include "access/xact.h"
}

namespace pgleak {

MyTags my_tags{};

void publish_tags(const char* message, std::size_t length) {
  const TagComments comments = find_tag_comments(message, length);
  if (comments.is_empty() && settings.tags[0] == '\0') return;
  my_slot->backend.publish_tags(my_tags.xact_seq, comments, settings.tags);
}

// When a transaction ends, the server takes back what it has SET LOCAL. That must not reach the tags of an
// aborted block, which is still there.
void publish_tag_setting(const char* value) {
  if (my_slot == nullptr || !IsTransactionState()) return;
  my_slot->backend.publish_tags(my_block_seq(), TagComments{}, value);
}

}  // namespace pgleak
