# The library that a machine needs which has no instruction for an atomic of one or of eight bytes (riscv64, armel).
atomics_library = $(shell echo 'char a; unsigned long long b; int main() { return __atomic_add_fetch(&a, 1, 5) + \
  __atomic_add_fetch(&b, 1, 5); }' | $(CXX) $(CXXFLAGS) -x c++ - -o /dev/null 2>/dev/null || echo -latomic)
