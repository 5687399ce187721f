#include "core/limits.hpp"

namespace pgleak {

Micros Limits::after(Clock clock, LimitKind kind) const {
  const Micros leak = value[limit_index(clock, LimitKind::kLeak)];
  const Micros wanted = value[limit_index(clock, kind)];
  if (leak == kNever || wanted == kNever) return kNever;
  return wanted > leak ? wanted : leak;
}

Limits resolve_limits(const LimitValues& own, const LimitValues& server) {
  Limits limits{};
  for (int i = 0; i < kLimitCount; i++) {
    const bool is_own = own.value[i] != kNotSet;
    limits.value[i] = is_own ? own.value[i] : server.value[i];
    limits.source[i] = is_own ? LimitSource::kSession : LimitSource::kServer;
  }
  return limits;
}

bool uses_transaction_clock(const LimitValues& values) {
  return values.value[limit_index(Clock::kTransaction, LimitKind::kLeak)] > 0;
}

const char* to_string(Clock clock) { return clock == Clock::kIdle ? "idle" : "transaction"; }

const char* to_string(LimitSource source) {
  switch (source) {
    case LimitSource::kServer:
      return "server";
    case LimitSource::kRule:
      return "rule";
    case LimitSource::kSession:
      return "session";
    case LimitSource::kByHand:
      return "by hand";
  }
  return "server";
}

}  // namespace pgleak
