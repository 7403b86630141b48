// Little kernels that test_ptx_emulator.py runs: one instruction or two of a kind each, over 1024 elements, and faults.
//
// A comment at the end of a line is what the test knows that line by.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <string>

namespace {

using Kernel = void (*)(void*, const void*, const void*, const void*);

// out[i] = expression of x, y, z, the elements of three arrays.
#define ELEMENTS(name, Out, A, B, C, expression)                                 \
  __global__ void name(void* out, const void* a, const void* b, const void* c) { \
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;                    \
    [[maybe_unused]] const A x = static_cast<const A*>(a)[i];                    \
    [[maybe_unused]] const B y = static_cast<const B*>(b)[i];                    \
    [[maybe_unused]] const C z = static_cast<const C*>(c)[i];                    \
    static_cast<Out*>(out)[i] = expression;                                      \
  }
#define OF_ONE(name, Out, A, expression) ELEMENTS(name, Out, A, A, A, expression)
#define OF_TWO(name, Out, A, B, expression) ELEMENTS(name, Out, A, B, B, expression)

template <typename To, typename From> __device__ To bits_as(From from) {
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

__device__ uint32_t field(uint32_t x, uint32_t at, uint32_t count) {
  uint32_t result;
  asm("bfe.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(at), "r"(count));
  return result;
}
__device__ int32_t signed_field(int32_t x, uint32_t at, uint32_t count) {
  int32_t result;
  asm("bfe.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(at), "r"(count));
  return result;
}
__device__ uint32_t inserted(uint32_t x, uint32_t into, uint32_t at) {
  uint32_t result;
  asm("bfi.b32 %0, %1, %2, %3, 7;" : "=r"(result) : "r"(x), "r"(into), "r"(at));
  return result;
}
__device__ uint32_t logic(uint32_t x, uint32_t y, uint32_t z) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(result) : "r"(x), "r"(y), "r"(z));
  return result;
}
__device__ uint32_t two_comparisons(float x, float y, float z) {
  uint32_t result;
  asm("{ .reg .pred p, q, r; setp.gt.f32 r, %2, 0f00000000; setp.ltu.and.f32 p|q, %1, %2, r;\n"
      "selp.u32 %0, 1, 0, p; @q add.u32 %0, %0, 2; @!q add.u32 %0, %0, 4; }"
      : "=r"(result)
      : "f"(x), "f"(y));
  return result + (z != z ? 8 : 0);
}
__device__ int32_t highest(int32_t x) {
  int32_t result;
  asm("bfind.s32 %0, %1;" : "=r"(result) : "r"(x));
  return result;
}
__device__ float smaller_or_nan(float x, float y) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(x), "f"(y));
  return result;
}

ELEMENTS(fused32, float, float, float, float, __fmaf_rn(x, y, z))
ELEMENTS(fused64, double, double, double, double, __fma_rn(x, y, z))
ELEMENTS(apart32, float, float, float, float, x* y + z)
OF_TWO(divided32, float, float, float, x / y)
OF_TWO(divided64, double, double, double, x / y)
OF_ONE(root32, float, float, sqrtf(x))
OF_TWO(least32, float, float, float, fminf(x, y))
OF_TWO(most64, double, double, double, fmax(x, y))
OF_TWO(least_or_nan, float, float, float, smaller_or_nan(x, y))
OF_TWO(ordered, uint32_t, float, float,
       (x < y) | (x <= y) << 1 | (x == y) << 2 | (x != y) << 3 | !(x < y) << 4 | !(x >= y) << 5 |
           (x != x || y != y) << 6)
ELEMENTS(joined, uint32_t, float, float, float, two_comparisons(x, y, z))

OF_ONE(to_half, uint16_t, float, __half_as_ushort(__float2half_rn(x)))
OF_ONE(to_bfloat16, uint16_t, float, __bfloat16_as_ushort(__float2bfloat16_rn(x)))
OF_ONE(of_half, float, uint16_t, __half2float(__ushort_as_half(x)))
OF_ONE(of_bfloat16, float, uint16_t, __bfloat162float(__ushort_as_bfloat16(x)))
OF_TWO(two_halves, uint32_t, float, float, bits_as<uint32_t>(__floats2half2_rn(x, y)))
OF_ONE(narrowed, float, double, static_cast<float>(x))
OF_ONE(truncated, int32_t, float, __float2int_rz(x))
OF_ONE(nearest, int64_t, double, __double2ll_rn(x))
OF_ONE(floored, int64_t, float, __float2ll_rd(x))
OF_ONE(unsigned_up, uint32_t, double, __double2uint_ru(x))
OF_ONE(of_long, float, int64_t, static_cast<float>(x))
OF_ONE(of_unsigned_long, double, uint64_t, static_cast<double>(x))
OF_ONE(floor64, double, double, floor(x))

OF_TWO(sums, int32_t, int32_t, int32_t, x + 3 * y)
OF_TWO(quotients, int32_t, int32_t, int32_t, x / y)
OF_TWO(long_quotients, int64_t, int64_t, int64_t, x / y)
OF_TWO(remainders, int64_t, int64_t, int64_t, x % y)
OF_TWO(unsigned_quotients, uint64_t, uint64_t, uint64_t, x / y + x % y)
OF_TWO(upper_half, int32_t, int32_t, int32_t, __mulhi(x, y))
OF_TWO(upper_long, uint64_t, uint64_t, uint64_t, __umul64hi(x, y))
OF_TWO(wide, int64_t, int32_t, int32_t, static_cast<int64_t>(x) * y)
OF_TWO(left, uint32_t, uint32_t, uint32_t, x << (y & 63))
OF_TWO(right, int64_t, int64_t, uint32_t, x >> (y & 63))
OF_TWO(funnel, uint32_t, uint32_t, uint32_t, __funnelshift_r(x, y, y))
OF_TWO(permuted, uint32_t, uint32_t, uint32_t, __byte_perm(x, y, x >> 16))
OF_ONE(counted, int32_t, uint32_t, __popc(x) + 64 * __clz(static_cast<int>(x)) + 4096 * __ffs(static_cast<int>(x)))
OF_ONE(reversed_bits, uint32_t, uint32_t, __brev(x))
OF_ONE(highest_bit, int32_t, int32_t, highest(x))
OF_TWO(fields, uint32_t, uint32_t, uint32_t, field(x, y & 31, y >> 8 & 31))
OF_TWO(signed_fields, int32_t, int32_t, uint32_t, signed_field(x, y & 31, y >> 8 & 31))
OF_TWO(inserted_fields, uint32_t, uint32_t, uint32_t, inserted(x, y, y >> 8 & 31))
ELEMENTS(logical, uint32_t, uint32_t, uint32_t, uint32_t, logic(x, y, z))
OF_ONE(reduced, uint32_t, uint32_t, __reduce_max_sync(0xffffffffu, x) - __reduce_min_sync(0xffffffffu, x))

// Each lane goes its own number of times round, and half of them another way in each: they meet again in between.
__device__ uint32_t collatz(uint32_t x) {
  uint32_t steps = 0, met = 0;
  for (uint32_t value = x % 1000 + 1; value != 1; ++steps) {
    if (value % 2) {
      value = 3 * value + 1;
      met += __popc(__activemask()) == 0;
    } else {
      value /= 2;
    }
  }
  return __shfl_sync(0xffffffffu, steps + met, static_cast<int>(threadIdx.x + 1) % 32);
}
OF_ONE(own_ways, uint32_t, uint32_t, collatz(x))

__global__ void subnormal_sums(void* out, const void* a, const void*, const void*) {
  atomicAdd(static_cast<float*>(out) + threadIdx.x, static_cast<const float*>(a)[threadIdx.x]);
}

__global__ void fixed_shared(void* out, const void* a, const void*, const void*) {
  __shared__ int turned[32];
  turned[31 - threadIdx.x] = static_cast<const int*>(a)[threadIdx.x];
  __syncwarp();
  static_cast<int*>(out)[threadIdx.x] = turned[threadIdx.x];
}

// Faults. All are launched as one block of 64 threads.

__global__ void reads_beyond(void* out, const void* a, const void*, const void*) {
  static_cast<int*>(out)[threadIdx.x] = static_cast<const int*>(a)[threadIdx.x + 961];  // reads_beyond
}
__global__ void writes_before(void* out, const void*, const void*, const void*) {
  static_cast<int*>(out)[static_cast<int>(threadIdx.x) - 1] = 1;  // writes_before
}
__global__ void writes_an_input(void*, const void* a, const void*, const void*) {
  static_cast<int*>(const_cast<void*>(a))[threadIdx.x] = 1;  // writes_an_input
}
__global__ void misaligned(void* out, const void* a, const void*, const void*) {
  const float* const from = static_cast<const float*>(a) + threadIdx.x;
  static_cast<float4*>(out)[threadIdx.x] = *reinterpret_cast<const float4*>(from);  // misaligned
}
__global__ void reads_what_nobody_wrote(void* out, const void*, const void*, const void*) {
  static_cast<int*>(out)[threadIdx.x + 64] = static_cast<const volatile int*>(out)[threadIdx.x];  // unwritten
}
__global__ void divides_by_zero(void* out, const void* a, const void*, const void*) {
  static_cast<int*>(out)[threadIdx.x] = static_cast<const int*>(a)[0] / static_cast<int>(threadIdx.x - 3);  // zero
}
__global__ void between_warps(void* out, const void*, const void*, const void*) {
  __shared__ volatile int held[64];
  held[threadIdx.x] = 1;  // written
  __syncwarp();
  static_cast<int*>(out)[threadIdx.x] = held[threadIdx.x ^ 32];  // read
}
__global__ void within_a_warp(void* out, const void*, const void*, const void*) {
  __shared__ volatile int held[64];
  held[threadIdx.x] = 1;                                        // written in a warp
  static_cast<int*>(out)[threadIdx.x] = held[threadIdx.x ^ 1];  // read in a warp
}
__global__ void behind_its_own_barrier(void* out, const void*, const void*, const void*) {
  __shared__ volatile int held[32];
  if (threadIdx.x < 32) held[threadIdx.x] = 1;  // written by the first
  __syncwarp();
  if (threadIdx.x >= 32) static_cast<int*>(out)[threadIdx.x] = held[threadIdx.x - 32];  // read by the second
}
__global__ void overwritten(void* out, const void*, const void*, const void*) {
  __shared__ volatile int held[64];
  held[threadIdx.x] = 1;
  __syncthreads();
  const int other = held[threadIdx.x ^ 33];  // read first
  held[threadIdx.x] = other + 1;             // overwritten
  static_cast<int*>(out)[threadIdx.x] = other;
}
__global__ void at_the_same_time(void*, const void*, const void*, const void*) {
  __shared__ volatile int held[64];
  held[threadIdx.x / 2] = 1;  // same
}
__global__ void between_blocks(void* out, const void*, const void*, const void*) {
  static_cast<volatile int*>(out)[32 * blockIdx.x + threadIdx.x] = 1;  // written by two
}
__global__ void read_by_another(void* out, const void*, const void*, const void*) {
  volatile int* const values = static_cast<int*>(out);
  values[threadIdx.x + 64 * blockIdx.x] = 1;
  values[threadIdx.x + 256] = values[threadIdx.x];  // read of another
}
__global__ void written_after(void* out, const void*, const void*, const void*) {
  volatile int* const values = static_cast<int*>(out);
  if (blockIdx.x == 0) values[threadIdx.x + 64] = values[0];
  if (blockIdx.x == 1 && threadIdx.x == 0) values[0] = 1;  // written after
}
__global__ void added_and_read(void* out, const void*, const void*, const void*) {
  volatile int* const values = static_cast<int*>(out);
  atomicAdd(static_cast<int*>(out), 1);
  if (blockIdx.x == 1) values[threadIdx.x + 64] = values[0];  // read of sums
}
__global__ void written_and_added(void* out, const void*, const void*, const void*) {
  if (blockIdx.x == 0 && threadIdx.x == 0) static_cast<volatile int*>(out)[0] = 0;
  atomicAdd(static_cast<int*>(out), 1);  // added to what was written
}
__global__ void half_written(void* out, const void*, const void*, const void*) {
  static_cast<volatile uint16_t*>(out)[2 * threadIdx.x] = 1;
  static_cast<volatile uint32_t*>(out)[threadIdx.x + 512] = static_cast<volatile uint32_t*>(out)[threadIdx.x];  // half
}
__global__ void endless(void* out, const void*, const void*, const void*) {
  while (static_cast<volatile int*>(out)[threadIdx.x] == 1) continue;  // endless
}
__global__ void approximated(void* out, const void* a, const void*, const void*) {
  static_cast<float*>(out)[threadIdx.x] = __expf(static_cast<const float*>(a)[threadIdx.x]);  // approximated
}

#define NAMED(kernel) {#kernel, kernel}
// clang-format off
const std::map<std::string, Kernel> kKernels = {
    NAMED(fused32), NAMED(fused64), NAMED(apart32), NAMED(divided32), NAMED(divided64), NAMED(root32), NAMED(least32),
    NAMED(most64), NAMED(least_or_nan), NAMED(ordered), NAMED(joined), NAMED(to_half), NAMED(to_bfloat16),
    NAMED(of_half), NAMED(of_bfloat16), NAMED(two_halves), NAMED(narrowed), NAMED(truncated), NAMED(nearest),
    NAMED(floored), NAMED(unsigned_up), NAMED(of_long), NAMED(of_unsigned_long), NAMED(floor64), NAMED(sums),
    NAMED(quotients), NAMED(long_quotients), NAMED(remainders), NAMED(unsigned_quotients), NAMED(upper_half),
    NAMED(upper_long), NAMED(wide), NAMED(left), NAMED(right), NAMED(funnel), NAMED(permuted), NAMED(counted),
    NAMED(reversed_bits), NAMED(highest_bit), NAMED(fields), NAMED(signed_fields), NAMED(inserted_fields),
    NAMED(logical), NAMED(reduced), NAMED(own_ways), NAMED(subnormal_sums), NAMED(fixed_shared), NAMED(reads_beyond),
    NAMED(writes_before), NAMED(writes_an_input), NAMED(misaligned), NAMED(reads_what_nobody_wrote),
    NAMED(divides_by_zero), NAMED(between_warps), NAMED(within_a_warp), NAMED(overwritten), NAMED(at_the_same_time),
    NAMED(between_blocks), NAMED(read_by_another), NAMED(added_and_read), NAMED(written_after),
    NAMED(written_and_added), NAMED(half_written),
    NAMED(behind_its_own_barrier), NAMED(endless), NAMED(approximated),
};
// clang-format on

}  // namespace

extern "C" const char* elements(const char* name, int blocks, int threads, void* out, const void* a, const void* b,
                                const void* c) {
  kKernels.at(name)<<<blocks, threads>>>(out, a, b, c);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}
