// The headers for files that are compiled for one instruction set; the headers themselves are compiled for the portable
// one.
//
// The kernels' sources (*.inl) are compiled once for each instruction set, each time in its own namespace. Functions
// that they share with the rest of the program must be compiled for the portable set only: if two object files define
// one function, the linker keeps one copy, and if that is the AVX-512 copy, the program crashes on a machine without
// AVX-512. So every header is included here, before the target changes, and an .inl file includes nothing.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "crop_and_resize/cpu/tables.h"
#include "crop_and_resize/kernels.h"
#include "roi_align/cpu/jobs.h"
#include "roi_align/cpu/samples.h"

namespace roi_align {

// The kernels of one instruction set; crop_and_resize/kernels.h and roi_align/cpu/jobs.h describe each of them.
struct Kernels {
  const char* name;
  ForwardKernel* forward;
  GradImageKernel* grad_image;
  GradBoxesKernel* grad_boxes;
  RoiForwardKernel* roi_forward;
  RoiGradMapsKernel* roi_grad_maps;
  RoiGradBoxesKernel* roi_grad_boxes;
  RoiGradMapsKernel* roi_max_grad_maps;
  RoiGradBoxesKernel* roi_max_grad_boxes;
  RoiAtLargestKernel* roi_at_largest;
};

// The kernels that this process uses; std::invalid_argument if ROI_ALIGN_CPU names a set that this machine cannot run.
const Kernels& kernels();

namespace portable {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif

// The planes of a block, which are turned together: the same number on every instruction set, so that sums over them
// have one order. 16 float channels are also one line of 64 bytes, so two threads never write to the same line.
constexpr int64_t kBlock = 16;

#define ROI_ALIGN_INLINE inline __attribute__((always_inline))

}  // namespace roi_align
