// Threads of execution that give way to each other only where they say so: a stack each, and a way to change stacks.
//
// A fiber belongs to one thread of a block and outlives it: the next block finds it at the end of a loop and lets it go
// round once more, which is much cheaper than making another.

#pragma once

#include <setjmp.h>
#include <ucontext.h>

namespace executor {

struct Stack {
  ucontext_t context;  // points into itself: a stack is never moved
  jmp_buf jump;
  unsigned char* lowest = nullptr;
  bool begun = false;
};

// From the scheduler: lets the fiber run, from where it left or from the beginning of `body`, until it leaves again.
void enter(Stack& stack, void (*body)());

// From a fiber: back to the scheduler.
void leave(Stack& stack);

// Called first by `body`.
void entered();

}  // namespace executor
