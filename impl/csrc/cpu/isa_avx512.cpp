// The CPU kernels, compiled for AVX-512.

#include "isa.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#endif
#define ROI_ALIGN_ISA avx512
#define ROI_ALIGN_VECTOR_BYTES 64
#define ROI_ALIGN_STREAM __builtin_ia32_movntps512

namespace roi_align {
namespace ROI_ALIGN_ISA {

#include "lanes.inl"
#include "forward.inl"
#include "grad_image.inl"
#include "grad_boxes.inl"
#include "roi_pixels.inl"
#include "roi_forward.inl"
#include "roi_grad_maps.inl"
#include "roi_grad_boxes.inl"

extern const Kernels kKernels{"avx512",     &forward,       &grad_image, &grad_boxes,
                              &roi_forward, &roi_grad_maps, &roi_grad_boxes};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
