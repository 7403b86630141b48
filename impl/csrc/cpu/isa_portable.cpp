// The CPU kernels, compiled for any machine of this architecture.

#include "cpu/isa.h"

#define ROI_ALIGN_ISA portable
#define ROI_ALIGN_VECTOR_BYTES 16
#if defined(__x86_64__)
#define ROI_ALIGN_STREAM __builtin_ia32_movntps
#endif

#include "cpu/isa_kernels.inl"
