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

extern const Kernels kKernels{"avx2",       &forward,       &grad_image, &grad_boxes,
                              &roi_forward, &roi_grad_maps, &roi_grad_boxes};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
