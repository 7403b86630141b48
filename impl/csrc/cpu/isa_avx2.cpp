// The CPU kernels, compiled for AVX2.

#include "cpu/isa.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define ROI_ALIGN_ISA avx2
#define ROI_ALIGN_VECTOR_BYTES 32
#define ROI_ALIGN_STREAM __builtin_ia32_movntps256

#include "cpu/isa_kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
