// Marks what host and device both compile; a compiler for the host alone sees nothing of it.

#pragma once

#if defined(__CUDACC__)
#define ROI_ALIGN_HOST_DEVICE __host__ __device__
#else
#define ROI_ALIGN_HOST_DEVICE
#endif
