// How tests with two threads wait for each other: by spinning, so that both sides cross as closely as two
// processes do, and yielding now and then, so that one processor is enough.
#ifndef PGLEAK_TEST_UNIT_THREADS_HPP
#define PGLEAK_TEST_UNIT_THREADS_HPP

#include <atomic>
#include <thread>

namespace pgleak {

// Returns once is_done() is true.
template <typename Condition>
void spin_until(Condition is_done) {
  for (int turns = 1; !is_done(); turns++) {
    if (turns % 1000 == 0) std::this_thread::yield();
  }
}

// Keeps the processor busy for about `turns` nanoseconds, to shift two threads against each other.
inline void dawdle(unsigned turns) {
  for (unsigned i = 0; i < turns; i++) std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace pgleak

#endif
