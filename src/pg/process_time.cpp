#include "pg/process_time.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace pgleak {

std::optional<std::int64_t> read_run_time(int pid) {
  char text[128];
  std::snprintf(text, sizeof(text), "/proc/%d/schedstat", pid);
  const int file = open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  if (length <= 0) return std::nullopt;
  text[length] = '\0';
  char* end = nullptr;
  const long long run_time = std::strtoll(text, &end, 10);
  // Where the kernel does not count, it says 0 for every process.
  if (end == text || run_time <= 0) return std::nullopt;
  return run_time;
}

}  // namespace pgleak
