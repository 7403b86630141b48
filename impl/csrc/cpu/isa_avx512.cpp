// The CPU kernels, compiled for AVX-512.

#include "cpu/isa.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#endif
#define ROI_ALIGN_ISA avx512
#define ROI_ALIGN_VECTOR_BYTES 64
#define ROI_ALIGN_STREAM __builtin_ia32_movntps512

#include "cpu/isa_kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
