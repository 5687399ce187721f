#include "core/pool_advice.hpp"
#include "core/prepared.hpp"

namespace pgleak {

namespace {

// In one unit: "45s", "12min", "3h", "2d".
void append_roughly(TextBuffer* text, Micros duration) {
  struct Unit {
    Micros size;
    Micros below;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{kSecond, 60 * kSecond, "s"},
                                    {60 * kSecond, 3600 * kSecond, "min"},
                                    {3600 * kSecond, 2 * 86400 * kSecond, "h"},
                                    {86400 * kSecond, kForever, "d"}};
  for (const Unit& unit : kUnits) {
    if (duration >= unit.below) continue;
    text->append_number(duration < Micros{0} ? 0 : duration / unit.size);
    text->append(unit.name);
    return;
  }
}

// The parts in parentheses after a name, separated by commas.
class Particulars {
 public:
  explicit Particulars(TextBuffer* text) : text_(text) {}
  TextBuffer* next() {
    text_->append(count_++ == 0 ? " (" : ", ");
    return text_;
  }
  void finish() {
    if (count_ > 0) text_->append(")");
  }

 private:
  TextBuffer* text_;
  int count_ = 0;
};

// "idle in transaction for 12min"; a session that is active is named by the age of its transaction.
void append_state(TextBuffer* text, const Blocker& blocker, WallTime now) {
  const bool has_age = is_active(blocker.state) && blocker.xact_start.is_set();
  const WallTime since = has_age ? blocker.xact_start : blocker.state_start;
  text->append(to_string(blocker.state));
  if (!since.is_set()) return;
  text->append(has_age ? ", its transaction is " : " for ");
  append_roughly(text, now - since);
  if (has_age) text->append(" old");
}

void append_session(TextBuffer* text, const Blocker& blocker, const AdviceFacts& facts) {
  text->append("pid ");
  text->append_number(blocker.session.pid);
  Particulars particulars(text);
  if (blocker.is_own)
    particulars.next()->append("of the same pool");
  else if (blocker.application_name[0] != '\0')
    particulars.next()->append_escaped(blocker.application_name, false);
  if (facts.blocker.is_visible && to_string(blocker.state) != nullptr)
    append_state(particulars.next(), blocker, facts.now);
  if (facts.blocker.lock != nullptr) {
    particulars.next()->append("holds ");
    text->append(facts.blocker.lock);
  }
  particulars.finish();
}

void append_prepared(TextBuffer* text, const Blocker& blocker, const BlockerNames& names) {
  text->append("prepared transaction ");
  if (names.gid != nullptr)
    text->append_escaped(names.gid, false);
  else
    text->append_number(blocker.xid);
  if (names.lock == nullptr) return;
  text->append(" (holds ");
  text->append(names.lock);
  text->append(")");
}

// A rollback frees no lock that is held outside of the transaction.
bool needs_terminate(const Blocker& blocker) {
  return blocker.is_session_level || !(is_active(blocker.state) || is_idle_in_transaction(blocker.state));
}

void append_remedy(TextBuffer* text, const Blocker& blocker, const BlockerNames& names) {
  char statement[kRemedySize];
  switch (blocker.kind) {
    case Blocker::Kind::kSession:
      text->append(needs_terminate(blocker) ? "; end it: SELECT pgleak.terminate("
                                            : "; cancel it: SELECT pgleak.cancel(");
      text->append_number(blocker.session.pid);
      text->append(")");
      return;
    case Blocker::Kind::kPreparedTransaction:
      if (names.gid == nullptr) break;
      write_remedy(names.gid, statement);
      text->append("; end it in database ");
      text->append_escaped(names.database, false);
      text->append(": ");
      text->append_escaped(statement, false);
      text->append(", or COMMIT PREPARED");
      return;
    default:
      text->append("; see pgleak.waits");
      return;
  }
  text->append("; see pg_prepared_xacts");
}

void append_blocker(TextBuffer* text, const Blocker& blocker, const AdviceFacts& facts) {
  if (blocker.kind == Blocker::Kind::kPreparedTransaction)
    append_prepared(text, blocker, facts.blocker);
  else
    append_session(text, blocker, facts);
  append_remedy(text, blocker, facts.blocker);
}

}  // namespace

void append_blocked(TextBuffer* text, const PoolState& state, const AdviceFacts& facts) {
  const PoolWaits& waits = state.waits;
  const std::int32_t waiting = state.counts.waiting > 0 ? state.counts.waiting : 1;
  append_part(text, waiting, state.used);
  text->append(waiting == 1 ? " waits" : " wait");
  if (!waits.has_blocker()) {
    text->append(" for locks, for nobody in particular; shorten the transactions, see pgleak.waits");
    return;
  }
  if (waits.behind < waiting) {
    text->append(" for locks, ");
    text->append_number(waits.behind);
    text->append(" of them");
  }
  text->append(" behind ");
  append_blocker(text, waits.blocker, facts);
}

}  // namespace pgleak
