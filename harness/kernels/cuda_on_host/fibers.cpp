// The stacks, and how the address sanitizer is told that they are changed: it takes one stack's frames for another's
// otherwise.

#include "fibers.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace executor {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kGuardBytes = 4096;  // below a stack: who runs over its end is stopped

#if defined(__SANITIZE_ADDRESS__)

ucontext_t scheduler;
const void* scheduler_lowest = nullptr;
size_t scheduler_bytes = 0;

void forget_frames(const Stack& stack) { ASAN_UNPOISON_MEMORY_REGION(stack.lowest, kStackBytes); }

#else

void forget_frames(const Stack&) {}

#endif

void begin(Stack& stack, void (*body)()) {
  if (stack.lowest == nullptr) {
    void* const mapped = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED || mprotect(mapped, kGuardBytes, PROT_NONE) != 0) std::abort();
    stack.lowest = static_cast<unsigned char*>(mapped) + kGuardBytes;
  }
  forget_frames(stack);
  getcontext(&stack.context);
  stack.context.uc_stack.ss_sp = stack.lowest;
  stack.context.uc_stack.ss_size = kStackBytes;
  stack.context.uc_link = nullptr;
  makecontext(&stack.context, body, 0);
  // The sanitizer would clear its notes on a stack of a known size whenever it is left.
  stack.context.uc_stack.ss_size = 0;
  stack.begun = true;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)

void enter(Stack& stack, void (*body)()) {
  if (!stack.begun) begin(stack, body);
  void* kept = nullptr;
  __sanitizer_start_switch_fiber(&kept, stack.lowest, kStackBytes);
  swapcontext(&scheduler, &stack.context);
  __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
}

void leave(Stack& stack) {
  void* kept = nullptr;
  __sanitizer_start_switch_fiber(&kept, scheduler_lowest, scheduler_bytes);
  swapcontext(&stack.context, &scheduler);
  __sanitizer_finish_switch_fiber(kept, &scheduler_lowest, &scheduler_bytes);
}

void entered() { __sanitizer_finish_switch_fiber(nullptr, &scheduler_lowest, &scheduler_bytes); }

#else

// swapcontext asks the kernel of the operating system to keep the mask of signals, twice for every turn of a thread:
// half of all the time. The mask never changes here, and a jump leaves it alone.
jmp_buf scheduler_jump;

void enter(Stack& stack, void (*body)()) {
  if (_setjmp(scheduler_jump) != 0) return;
  if (stack.begun) _longjmp(stack.jump, 1);
  begin(stack, body);
  setcontext(&stack.context);
}

void leave(Stack& stack) {
  if (_setjmp(stack.jump) == 0) _longjmp(scheduler_jump, 1);
}

void entered() {}

#endif

}  // namespace executor
