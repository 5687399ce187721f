#include "server/action_text.hpp"

#include "core/text.hpp"

namespace pgleak {

void describe_reason(const ActionReason& reason, char (&text)[kReasonSize]) {
  TextBuffer out(text, sizeof(text));
  out.append(reason.clock == Clock::kIdle ? "it was idle for " : "it was open for ");
  out.append_seconds(reason.lasted);
  if (reason.limit != kNever) {
    out.append(", the limit is ");
    out.append_seconds(reason.limit);
  }
  if (reason.by_role[0] != '\0') {
    out.append(", at the request of role \"");
    out.append_escaped(reason.by_role, true);
    out.append("\"");
  }
}

}  // namespace pgleak
