// The kernels of one instruction set. The including file defines ROI_ALIGN_ISA, the name of the set and of the kernels'
// namespace.

#define ROI_ALIGN_TEXT_OF(name) #name
#define ROI_ALIGN_TEXT(name) ROI_ALIGN_TEXT_OF(name)

namespace roi_align {
namespace ROI_ALIGN_ISA {

// clang-format off: the order matters, as each file uses those before it
#include "cpu/lanes.inl"
#include "crop_and_resize/cpu/rows.inl"
#include "crop_and_resize/cpu/forward.inl"
#include "crop_and_resize/cpu/tile.inl"
#include "crop_and_resize/cpu/scatter.inl"
#include "crop_and_resize/cpu/grad_image.inl"
#include "crop_and_resize/cpu/slopes.inl"
#include "crop_and_resize/cpu/grad_boxes.inl"
#include "roi_align/cpu/pixels.inl"
#include "roi_align/cpu/maximum.inl"
#include "roi_align/cpu/forward.inl"
#include "roi_align/cpu/grad_image.inl"
#include "roi_align/cpu/grad_boxes.inl"
#include "roi_align/cpu/maximum_choices.inl"
#include "roi_align/cpu/maximum_grads.inl"
// clang-format on

extern const Kernels kKernels{ROI_ALIGN_TEXT(ROI_ALIGN_ISA),
                              &forward,
                              &grad_image,
                              &grad_boxes,
                              &roi_forward,
                              &roi_grad_maps,
                              &roi_grad_boxes,
                              &roi_max_grad_maps,
                              &roi_max_grad_boxes,
                              &roi_at_largest};

}  // namespace ROI_ALIGN_ISA
}  // namespace roi_align
