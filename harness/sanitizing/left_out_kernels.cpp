// Stands in for the kernels of the instruction set ROI_ALIGN_ISA in a program that is not to run them: to compile those
// under a sanitizer takes as long as all the rest.

#include "cpu/isa.h"

namespace roi_align {
namespace ROI_ALIGN_ISA {
extern const Kernels kKernels{"left out", nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
}
}  // namespace roi_align
