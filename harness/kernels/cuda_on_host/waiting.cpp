// Where threads wait for each other, and the rules of it: all that CUDA leaves undefined there is a failure.
//
// CUDA lets a mask name lanes that have returned. Here that is a failure too: whoever reads from them reads garbage,
// and a mask that is right by luck is worth knowing about.

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>

#include "executor.h"

namespace executor {

Thread threads[kMostThreads];
Launch running;

std::string coordinates(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

std::string hexadecimal(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof(text), "0x%08llx", static_cast<unsigned long long>(value));
  return text;
}

uint3 index_in(const dim3& extent, uint64_t flat) {
  const uint64_t rows = flat / extent.x;
  return {static_cast<unsigned>(flat % extent.x), static_cast<unsigned>(rows % extent.y),
          static_cast<unsigned>(rows / extent.y)};
}

std::string kernel_name() {
  // Kernels in anonymous namespaces are in no table of the running program. Their names are in what g++ left for the
  // debugger; binutils, which g++ needs anyway, can read that.
  Dl_info library;
  std::string name;
  if (dladdr(running.kernel, &library)) {
    const ptrdiff_t offset = static_cast<const char*>(running.kernel) - static_cast<const char*>(library.dli_fbase);
    const std::string place = "'" + std::string(library.dli_fname) + "' " + hexadecimal(static_cast<uint64_t>(offset));
    FILE* const answer = popen(("addr2line -Cfe " + place).c_str(), "r");
    for (int c; answer != nullptr && (c = std::fgetc(answer)) != EOF && c != '\n';) name += static_cast<char>(c);
    if (answer != nullptr) pclose(answer);
  }
  return name.empty() ? "a kernel" : name;
}

void fail(const std::string& what) {
  running.failure =
      what + " In block " + coordinates(blockIdx.x, blockIdx.y, blockIdx.z) + " of " + kernel_name() + ".";
}

bool Wait::same_as(const Wait& other) const {
  const auto same = [](const char* a, const char* b) { return a == b || !std::strcmp(a, b); };
  return line == other.line && mask == other.mask && same(name, other.name) && same(file, other.file);
}

namespace {

std::string text(const Wait& wait) {
  return std::string(wait.name) + " (" + wait.file + ":" + std::to_string(wait.line) + ")";
}

std::string mask_text(const Wait& wait) { return "the mask " + hexadecimal(wait.mask); }

std::string thread_text(unsigned thread) {
  const uint3 at = index_in(blockDim, thread);
  return "thread " + coordinates(at.x, at.y, at.z);
}

std::string whereabouts(unsigned thread) {
  if (thread >= running.threads) return "does not exist";
  const Thread& it = threads[thread];
  if (it.state == State::kReturned) return "has returned";
  return "waits at " + text(it.wait) + (it.state == State::kInWarp ? " with " + mask_text(it.wait) : "");
}

// Ends the launch from inside of a thread, which is never let in again.
void stop(const Wait& at, const std::string& what) {
  fail(text(at) + ": " + what);
  leave(threads[running.current].stack);
}

bool waits_with(const Thread& thread, const Thread& other) {
  return thread.state == other.state && thread.wait.same_as(other.wait);
}

// The first lane that a thread's mask names and that does not wait with it, or 32.
unsigned missing_lane(unsigned thread) {
  const unsigned warp = thread / 32 * 32;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(threads[thread].wait.mask >> lane & 1)) continue;
    if (warp + lane >= running.threads || !waits_with(threads[warp + lane], threads[thread])) return lane;
  }
  return 32;
}

// All lanes of the current thread's mask have arrived: each gets its result.
void complete_warp_operation() {
  Thread* const warp = threads + running.current / 32 * 32;
  const unsigned mask = threads[running.current].wait.mask;
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) && warp[lane].wait.value) votes |= 1u << lane;
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const unsigned source = warp[lane].wait.source;
    warp[lane].result = source == kEveryLane ? votes : warp[source].wait.value;
    warp[lane].state = State::kReady;
  }
}

}  // namespace

bool barrier_is_complete() {
  return std::all_of(threads, threads + running.threads, [](const Thread& thread) {
    return thread.state == State::kAtBarrier && waits_with(thread, threads[0]);
  });
}

std::string why_stuck() {
  unsigned stuck = 0, other = 0;
  while (threads[stuck].state == State::kReturned) ++stuck;
  const Thread& it = threads[stuck];
  if (it.state == State::kAtBarrier) {
    while (waits_with(threads[other], it)) ++other;
    return text(it.wait) + ": a divergent barrier, where " + thread_text(stuck) + " waits, but " + thread_text(other) +
           " " + whereabouts(other) + ".";
  }
  const unsigned lane = missing_lane(stuck);
  return text(it.wait) + ": " + mask_text(it.wait) + " of " + thread_text(stuck) + " names lane " +
         std::to_string(lane) + ", which " + whereabouts(stuck / 32 * 32 + lane) + ".";
}

void barrier(const char* file, int line) {
  Thread& it = threads[running.current];
  it.wait = {"__syncthreads", file, line, 0, 0, 0};
  it.state = State::kAtBarrier;
  leave(it.stack);
}

unsigned lane() { return running.current % 32; }

uint64_t warp_operation(const char* name, unsigned mask, uint64_t value, unsigned source, const char* file, int line) {
  Thread& it = threads[running.current];
  it.wait = {name, file, line, mask, value, source};
  for (const unsigned needed : {lane(), source}) {
    if (needed == kEveryLane || (mask >> needed & 1)) continue;
    stop(it.wait, mask_text(it.wait) + " of " + thread_text(running.current) + " does not name lane " +
                      std::to_string(needed) + (needed == lane() ? ", its own." : ", which it reads from."));
  }
  it.state = State::kInWarp;
  if (missing_lane(running.current) == 32) complete_warp_operation();
  leave(it.stack);
  return it.result;
}

void check_width(const char* name, int width, const char* file, int line) {
  if (width > 0 && width <= 32 && (width & (width - 1)) == 0) return;
  stop({name, file, line, 0, 0, 0}, "the width is a power of two up to 32, not " + std::to_string(width) + ".");
}

void check_global(const void* address, const char* file, int line) {
  if (!in_shared_memory(address)) return;
  stop({"atomicAdd", file, line, 0, 0, 0}, "vectors are added in global memory, not in shared memory.");
}

}  // namespace executor
