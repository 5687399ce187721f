#include "pg/wait_event.hpp"

#include "pg/postgres.hpp"

extern "C" {
#include "storage/proc.h"
#include "utils/wait_event.h"
}

namespace pgleak {

namespace {

constexpr std::uint32_t kClassMask = 0xFF000000U;

}  // namespace

std::uint32_t wait_event_of(int proc_index) {
  return *const_cast<const volatile uint32*>(&ProcGlobal->allProcs[proc_index].wait_event_info);
}

char* wait_event_name(std::uint32_t info) {
  const char* const name = pgstat_get_wait_event(info);
  if (name == nullptr) return nullptr;
  if ((info & kClassMask) == PG_WAIT_CLIENT) return pstrdup(name);
  return psprintf("%s/%s", pgstat_get_wait_event_type(info), name);
}

}  // namespace pgleak
