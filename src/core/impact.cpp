#include "core/impact.hpp"

namespace pgleak {

const char* to_string(Impact impact) {
  switch (impact) {
    case Impact::kNone:
      return "none";
    case Impact::kLocks:
      return "locks";
    case Impact::kHorizon:
      return "horizon";
    case Impact::kBlocking:
      return "blocking";
  }
  return "none";
}

}  // namespace pgleak
