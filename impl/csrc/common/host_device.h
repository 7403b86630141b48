// The mark of functions that host and device both compile; it is empty for a compiler without CUDA.

#pragma once

#if defined(__CUDACC__)
#define ROI_ALIGN_HOST_DEVICE __host__ __device__
#else
#define ROI_ALIGN_HOST_DEVICE
#endif
