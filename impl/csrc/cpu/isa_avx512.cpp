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

namespace roi_align {
namespace ROI_ALIGN_ISA {

#include "cpu/lanes.inl"
#include "crop_and_resize/cpu/forward.inl"
#include "crop_and_resize/cpu/grad_image.inl"
#include "crop_and_resize/cpu/grad_boxes.inl"
#include "roi_align/cpu/pixels.inl"
#include "roi_align/cpu/forward.inl"
#include "roi_align/cpu/grad_image.inl"
#include "roi_align/cpu/grad_boxes.inl"

extern const Kernels kKernels{"avx512",     &forward,       &grad_image, &grad_boxes,
                              &roi_forward, &roi_grad_maps, &roi_grad_boxes};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
