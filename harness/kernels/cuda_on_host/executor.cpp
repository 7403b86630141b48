// Runs the threads of a kernel on one thread of the host, in an order that can be chosen.
//
// Each thread of a block is a fiber that gives way only where CUDA's threads wait for each other (waiting.cpp). Blocks
// run one after another. A kernel that is right gives the same result in every order of threads; one that lacks a
// barrier gives another backwards than forwards. Whatever goes wrong ends the launch with a sentence.

#include "executor.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace roi_align::cuda {
// The most that a block may have on the GPUs that have most.
alignas(1024) unsigned char shared_memory[227 * 1024];
}  // namespace roi_align::cuda

// A kernel in an anonymous namespace means an array of that namespace, which C++ wants defined in the kernel's own
// file. To the linker it is a name like any other, and here is where it lies.
asm(R"(
    .globl  _ZN9roi_align4cuda12_GLOBAL__N_113shared_memoryE
    .hidden _ZN9roi_align4cuda12_GLOBAL__N_113shared_memoryE
    .set    _ZN9roi_align4cuda12_GLOBAL__N_113shared_memoryE, _ZN9roi_align4cuda13shared_memoryE
)");

namespace executor {
namespace {

using roi_align::cuda::shared_memory;

constexpr size_t kSharedWithoutAsking = 48 * 1024;

int order = 0;

// The byte of uninitialised memory: in forward order NaN as a float and -1 as an index, in the others 3.4e38 and
// 2,139,062,143. A kernel may mark a missing value by -1 itself, and then only the other byte shows what it forgot.
unsigned char garbage() { return order == 0 ? 0xFF : 0x7F; }

std::mt19937 chance;
std::map<const void*, size_t> allowed_shared_memory;
cudaError_t last_error = cudaSuccess;
std::string last_failure;

#if defined(__SANITIZE_ADDRESS__)

void guard_shared_memory(size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(shared_memory, sizeof(shared_memory));
  ASAN_POISON_MEMORY_REGION(shared_memory + bytes, sizeof(shared_memory) - bytes);
}
bool shared_memory_is_intact(size_t) { return true; }  // else the sanitizer has ended the process

#else

constexpr unsigned char kCanary = 0xA5;

void guard_shared_memory(size_t bytes) { std::memset(shared_memory + bytes, kCanary, sizeof(shared_memory) - bytes); }
bool shared_memory_is_intact(size_t bytes) {
  const unsigned char* const behind = shared_memory + bytes;
  const size_t rest = sizeof(shared_memory) - bytes;
  return rest == 0 || (*behind == kCanary && std::memcmp(behind, behind + 1, rest - 1) == 0);
}

#endif

void run_thread() {
  entered();
  for (;;) {
    (*running.body)();
    threads[running.current].state = State::kReturned;
    leave(threads[running.current].stack);
  }
}

template <typename Index> std::vector<Index> in_order(Index count) {
  std::vector<Index> all(count);
  std::iota(all.begin(), all.end(), Index{0});
  if (order == 1) std::reverse(all.begin(), all.end());
  if (order > 1) std::shuffle(all.begin(), all.end(), chance);
  return all;
}

void make_all_ready() {
  for (unsigned thread = 0; thread < running.threads; ++thread) threads[thread].state = State::kReady;
}

// The first thread in the order that can go on does, and as far as it can: warps get far ahead of others, and overtake
// whatever no barrier keeps them from. After a barrier all can go on, in a new order if it is random.
void run_block() {
  make_all_ready();
  std::vector<unsigned> turns = in_order(running.threads);
  for (size_t turn = 0;;) {
    if (turn == turns.size()) {
      const auto returned = [](const Thread& it) { return it.state == State::kReturned; };
      if (std::all_of(threads, threads + running.threads, returned)) return;
      if (!barrier_is_complete()) return fail(why_stuck());
      make_all_ready();
      turns = in_order(running.threads);
      turn = 0;
    }
    Thread& it = threads[turns[turn++]];
    if (it.state != State::kReady) continue;
    running.current = static_cast<unsigned>(&it - threads);
    threadIdx = index_in(blockDim, running.current);
    enter(it.stack, run_thread);
    if (!running.failure.empty()) return;
    // It was the last one that its warp waited for: others before it can go on too.
    if (it.state == State::kReady) turn = 0;
  }
}

void run_grid(const cudaLaunchConfig_t& config) {
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  running.threads = blockDim.x * blockDim.y * blockDim.z;
  const size_t bytes = config.dynamicSmemBytes;
  guard_shared_memory(bytes);
  for (const uint64_t block : in_order(uint64_t{gridDim.x} * gridDim.y * gridDim.z)) {
    blockIdx = index_in(gridDim, block);
    std::memset(shared_memory, garbage(), bytes);
    run_block();
    if (running.failure.empty() && !shared_memory_is_intact(bytes)) {
      fail("A thread has written past the " + std::to_string(bytes) + " bytes of shared memory that were asked for.");
    }
    if (!running.failure.empty()) return;
  }
}

std::string text(const dim3& extent) { return coordinates(extent.x, extent.y, extent.z); }

std::string too_much(size_t bytes) {
  return "a block has at most 227 KiB of shared memory, not " + std::to_string(bytes) + " bytes";
}

// Why CUDA would refuse the launch, or nothing.
std::string refusal(const cudaLaunchConfig_t& config) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return "a grid has at least one block and at most (2147483647, 65535, 65535), not " + text(grid);
  }
  const uint64_t plane = uint64_t{block.x} * block.y;
  if (plane == 0 || block.z == 0 || plane > kMostThreads || block.z > 64 || plane * block.z > kMostThreads) {
    return "a block has at least one thread and at most 1024, 64 of them along z, not " + text(block);
  }
  const size_t bytes = config.dynamicSmemBytes;
  if (bytes > sizeof(shared_memory)) return too_much(bytes);
  const size_t allowed = allowed_shared_memory[running.kernel];
  if (bytes > std::max(kSharedWithoutAsking, allowed)) {
    return "more than 48 KiB of shared memory have to be allowed with cudaFuncSetAttribute; " + std::to_string(bytes) +
           " bytes are wanted and " + std::to_string(allowed) + " are allowed";
  }
  return "";
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  running.kernel = kernel;
  running.body = &thread;
  running.failure.clear();
  chance.seed(static_cast<unsigned>(order));
  const std::string refused = refusal(config);
  if (!refused.empty()) {
    last_failure = "CUDA refuses to launch " + kernel_name() + ": " + refused + ".";
    return last_error = cudaErrorInvalidConfiguration;
  }
  run_grid(config);
  if (running.failure.empty()) return cudaSuccess;
  // Threads that were stopped half-way begin anew in the next launch.
  for (Thread& it : threads) it.stack.begun = false;
  last_failure = running.failure;
  return last_error = cudaErrorLaunchFailure;
}

cudaError_t allow_shared_memory(const void* kernel, size_t bytes) {
  if (bytes > sizeof(shared_memory)) {
    last_failure = "CUDA refuses to set an attribute: " + too_much(bytes) + ".";
    return last_error = cudaErrorInvalidValue;
  }
  allowed_shared_memory[kernel] = bytes;
  return cudaSuccess;
}

bool in_shared_memory(const void* address) {
  const auto* const byte = static_cast<const unsigned char*>(address);
  return byte >= shared_memory && byte < shared_memory + sizeof(shared_memory);
}

}  // namespace executor

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : executor::last_failure.c_str();
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (posix_memalign(memory, 256, bytes) != 0) return executor::last_error = cudaErrorMemoryAllocation;
  std::memset(*memory, executor::garbage(), bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(executor::last_error, cudaSuccess); }

// 0 forward, 1 backward, any other number a random order with that seed: of the blocks, and of the threads in a block.
extern "C" void set_order(int chosen) { executor::order = chosen; }
