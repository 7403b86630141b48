// The CPU kernels, compiled for any machine of this architecture.

#include "cpu/isa.h"

#define ROI_ALIGN_ISA portable
#define ROI_ALIGN_VECTOR_BYTES 16
#if defined(__x86_64__)
#define ROI_ALIGN_STREAM __builtin_ia32_movntps
#endif

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

extern const Kernels kKernels{"portable",   &forward,       &grad_image, &grad_boxes,
                              &roi_forward, &roi_grad_maps, &roi_grad_boxes};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align
