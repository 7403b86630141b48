// What the launch that runs consists of: its threads, what each of them waits for, and what has gone wrong.

#pragma once

#include <cuda_runtime.h>

#include <string>

#include "fibers.h"

namespace executor {

enum class State { kReady, kAtBarrier, kInWarp, kReturned };

// What a thread waits for, or has waited for last: an operation, where it stands, and what the thread brings to it.
struct Wait {
  const char* name;
  const char* file;
  int line;
  unsigned mask;
  uint64_t value;
  unsigned source;

  bool same_as(const Wait& other) const;
};

struct Thread {
  Stack stack;
  State state = State::kReady;
  Wait wait{};
  uint64_t result = 0;
};

struct Launch {
  const void* kernel = nullptr;
  const std::function<void()>* body = nullptr;
  unsigned threads = 0;  // of a block
  unsigned current = 0;
  std::string failure;
};

constexpr unsigned kMostThreads = 1024;
extern Thread threads[kMostThreads];  // their stacks are kept from launch to launch
extern Launch running;

bool barrier_is_complete();

// Some threads have not returned and none can go on: why the first of them cannot.
std::string why_stuck();

// The launch ends as soon as the scheduler has its turn.
void fail(const std::string& what);

bool in_shared_memory(const void* address);
std::string kernel_name();
std::string coordinates(unsigned x, unsigned y, unsigned z);
uint3 index_in(const dim3& extent, uint64_t flat);

}  // namespace executor
