// What the kernels' host code calls of the CUDA runtime, for a process without a GPU: launches go to Python.
//
// nvcc compiles host code that registers the kernels of its file and launches them by their addresses; here that is
// written down and handed on, with the arguments as they are. Memory is the process's own. Nothing of the real runtime
// is linked, and nothing here is seen outside of the library.

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace {

struct Kernel {
  const void* image;  // the file's compiled code, as __cudaRegisterFatBinary was given it
  const char* name;
  size_t allowed_shared_bytes;
};

// What Python is told of a launch, and of memory that comes and goes.
struct Launch {
  const void* image;
  const char* kernel;
  unsigned grid[3];
  unsigned block[3];
  size_t shared_bytes;
  size_t allowed_shared_bytes;
  void** arguments;
};

using OnLaunch = int (*)(const Launch*);
using OnMemory = void (*)(void*, size_t);  // no bytes: it is given back

std::map<const void*, Kernel>& kernels() {
  static std::map<const void*, Kernel> all;
  return all;
}

OnLaunch on_launch = nullptr;
OnMemory on_memory = nullptr;
cudaError_t last_error = cudaSuccess;
constexpr size_t kAligned = 256;
constexpr size_t kMargin = 4096;  // on both sides of an allocation, so that no other one is next to it

cudaError_t failed(cudaError_t error) { return last_error = error; }

cudaError_t launch(const void* function, dim3 grid, dim3 block, size_t shared_bytes, void** arguments) {
  const auto found = kernels().find(function);
  if (found == kernels().end()) return failed(cudaErrorInvalidDeviceFunction);
  const Kernel& kernel = found->second;
  const Launch call = {kernel.image,
                       kernel.name,
                       {grid.x, grid.y, grid.z},
                       {block.x, block.y, block.z},
                       shared_bytes,
                       kernel.allowed_shared_bytes,
                       arguments};
  if (on_launch(&call) == 0) return cudaSuccess;
  return failed(cudaErrorLaunchFailure);
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void set_callbacks(OnLaunch launch, OnMemory memory) {
  on_launch = launch;
  on_memory = memory;
}

// Every kernel that the library has: the image that it is in, and its name there.
__attribute__((visibility("default"))) void each_kernel(void (*visit)(const void*, const char*)) {
  for (const auto& [host, kernel] : kernels()) visit(kernel.image, kernel.name);
}

// Called before main by the code that nvcc adds to each file.

void** __cudaRegisterFatBinary(void* image) { return static_cast<void**>(image); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** image, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  kernels()[host] = {image, name, 0};
}

// A launch by <<<>>>, or by a kernel's host function.

static struct {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
} configured;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  configured = {grid, block, shared_bytes, stream};
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  *grid = configured.grid;
  *block = configured.block;
  *shared_bytes = configured.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = configured.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                               cudaStream_t) {
  return launch(kernel, grid, block, shared_bytes, arguments);
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                             cudaStream_t) {
  return launch(function, grid, block, shared_bytes, arguments);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  if (config->numAttrs != 0) return failed(cudaErrorNotSupported);
  return launch(function, config->gridDim, config->blockDim, config->dynamicSmemBytes, arguments);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const auto found = kernels().find(function);
  if (found == kernels().end()) return failed(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value < 0 || value > 227 * 1024) return failed(cudaErrorInvalidValue);
    found->second.allowed_shared_bytes = static_cast<size_t>(value);
  }
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorLaunchFailure: return "the emulator stopped the kernel";
    case cudaErrorNotSupported: return "the emulator knows no launch attributes";
    default: return "invalid argument";
  }
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  void* whole = aligned_alloc(kAligned, (bytes + kAligned - 1) / kAligned * kAligned + 2 * kMargin);
  if (whole == nullptr) return failed(cudaErrorMemoryAllocation);
  *memory = static_cast<char*>(whole) + kMargin;
  memset(*memory, 0xFF, bytes);  // NaN, where only some blocks run and what the others write is read
  if (on_memory != nullptr) on_memory(*memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory != nullptr && on_memory != nullptr) on_memory(memory, 0);
  if (memory != nullptr) free(static_cast<char*>(memory) - kMargin);
  return cudaSuccess;
}

}  // extern "C"
