// What a file that is compiled for one instruction set may use: everything here is compiled for the portable one.
//
// The kernels' sources (*.inl) are compiled once for each instruction set, in a namespace of its own. What they share
// with the rest of the program must not be: of a function that two object files define one copy is kept, and if that
// were the AVX-512 one, the program would die on a machine without. So every header is included here, before the target
// changes, and an .inl file includes nothing.

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

// The kernels of one instruction set; what each does stands in crop_and_resize/kernels.h and roi_align/cpu/jobs.h.
struct Kernels {
  const char* name;
  ForwardKernel* forward;
  GradImageKernel* grad_image;
  GradBoxesKernel* grad_boxes;
  RoiForwardKernel* roi_forward;
  RoiGradMapsKernel* roi_grad_maps;
  RoiGradBoxesKernel* roi_grad_boxes;
};

// Those that this process uses; std::invalid_argument if ROI_ALIGN_CPU asks for some that this machine cannot run.
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

// Planes that are turned together, on every instruction set alike: sums over them have one order. 16 float channels
// are also one line of 64 bytes, so that two threads never write to the same line.
constexpr int64_t kBlock = 16;

#define ROI_ALIGN_INLINE inline __attribute__((always_inline))

}  // namespace roi_align
