// The CPU kernels, compiled for any machine of this architecture.

#include "isa.h"

#define ROI_ALIGN_ISA portable
#define ROI_ALIGN_VECTOR_BYTES 16
#if defined(__x86_64__)
#define ROI_ALIGN_STREAM __builtin_ia32_movntps
#endif

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

extern const Kernels kKernels{"portable",   &forward,       &grad_image, &grad_boxes,
                              &roi_forward, &roi_grad_maps, &roi_grad_boxes};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align
