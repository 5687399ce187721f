#include "backend/backend.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/settings.hpp"
#include "shmem/idle_memory.hpp"

namespace pgleak {

namespace {

SlotIdleTimes* my_banks = nullptr;  // nullptr before the slot is claimed, and if idle times are not tracked

// The name and the label of the session's pool, as of the last search.
char my_name[kNameSize];
PoolLabel my_label = 0;

bool find_my_pool() {
  if (my_label != 0 && strncmp(application_name, my_name, kNameSize - 1) == 0) return true;
  SessionIdentity who{};
  const SessionId me{MyProcPid, from_timestamp(MyStartTimestamp)};
  if (!read_status_strings(compat::my_status_index(), me, &who, nullptr, 0, nullptr)) return false;
  strlcpy(my_name, who.application_name, kNameSize);
  my_label = pool_label(make_pool_key(MyDatabaseId, who));
  return true;
}

}  // namespace

MyIdleTimes my_idle_times{&my_idle_times.counted, 0, nullptr, nullptr};

void claim_idle_times(int index) {
  my_banks = idle_times_of(index);
  if (my_banks == nullptr) return;
  my_idle_times.counted = pgStatTransactionIdleTime;
  my_idle_times.sum = &pgStatTransactionIdleTime;
}

void count_idle_time_with_care() {
  const PgStat_Counter sum = *my_idle_times.sum;
  const PgStat_Counter idle = sum > my_idle_times.counted ? sum - my_idle_times.counted : sum;
  my_idle_times.counted = sum;
  if (idle == 0 || !find_my_pool()) return;
  IdleBank* const bank = my_banks->choose(my_label);
  bank->add(Micros{idle});
  // In the bank of no pool, the next time may find one that is free by then.
  my_idle_times.bank = bank;
  my_idle_times.name = bank->label() == my_label ? application_name : nullptr;
}

}  // namespace pgleak
