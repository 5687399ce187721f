#include "core/limits.hpp"

#include "core/text.hpp"

namespace pgleak {

Micros Limits::after(Clock clock, LimitKind kind) const {
  const Micros leak = value[limit_index(clock, LimitKind::kLeak)];
  const Micros wanted = value[limit_index(clock, kind)];
  if (leak == kNever || wanted == kNever) return kNever;
  return wanted > leak ? wanted : leak;
}

Limits resolve_limits(const LimitValues& own, const RuleLimits* rule, const LimitValues& server) {
  Limits limits{};
  for (int i = 0; i < kLimitCount; i++) {
    if (own.value[i] != kNotSet) {
      limits.value[i] = own.value[i];
      limits.source[i] = LimitSource::kSession;
    } else if (rule != nullptr && rule->limits.value[i] != kNotSet) {
      limits.value[i] = rule->limits.value[i];
      limits.source[i] = LimitSource::kRule;
      limits.rule_id = rule->id;
    } else {
      limits.value[i] = server.value[i];
      limits.source[i] = LimitSource::kServer;
    }
  }
  return limits;
}

bool uses_transaction_clock(const LimitValues& values) {
  return values.value[limit_index(Clock::kTransaction, LimitKind::kLeak)] > kNever;
}

const char* to_string(Clock clock) {
  switch (clock) {
    case Clock::kIdle:
      return "idle";
    case Clock::kTransaction:
      return "transaction";
    case Clock::kBlocking:
      return "blocking";
    case Clock::kPrepared:
      return "prepared";
  }
  return "";
}

SourceName name_of(LimitSource source, std::int32_t rule_id) {
  SourceName name;
  TextBuffer text(name.text, sizeof(name.text));
  switch (source) {
    case LimitSource::kServer:
      text.append("server");
      break;
    case LimitSource::kRule:
      text.append("rule ");
      text.append_number(rule_id);
      break;
    case LimitSource::kSession:
      text.append("session");
      break;
    case LimitSource::kManual:
      text.append("by hand");
      break;
  }
  return name;
}

}  // namespace pgleak
