// The CUDA kernels' interface: the CPU's plain structs, with pointers into device memory, and a stream.
//
// Every function enqueues its kernels and returns: it does not wait for the device, read its memory or allocate, so a
// CUDA graph can capture it. A launch that CUDA refuses is a std::runtime_error. No size may be 0: the caller handles
// calls without samples or channels.
//
// An index outside of [0, N) is never dereferenced: the box's crop is NaN, and it adds nothing to any gradient.

#pragma once

#include <cuda_runtime.h>

#include "crop_and_resize/kernels.h"

namespace roi_align::cuda {

// Crops (M,C,h,w); the bits are the CPU's.
void forward(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value, const View& crops,
             cudaStream_t stream);

// The image gradient in no fixed order: every sample adds to its pixels by atomics. `sums` is an image of zeros in the
// type of the sums, float32, or float64 for crops of float64; for half types the caller rounds it afterwards.
void grad_image_atomic(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& sums,
                       cudaStream_t stream);

// The image gradient in the CPU's order, with the same bits: every tile of it gathers from the boxes that reach it, in
// the order of the boxes, and is written once. `scratch` is memory for the reach of each box. A crop of 2^31 or more
// samples a side is a std::invalid_argument.
int64_t grad_image_gather_scratch(const View& grad_image, int64_t boxes);
void grad_image_gather(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                       void* scratch, cudaStream_t stream);

// The box gradient, (M, 4) contiguous in the dtype of the edges. The order of the sums depends on the layout of the
// inputs only, so the result is repeatable. `scratch` is memory for partial sums, doubles.
int64_t grad_boxes_scratch(const ConstView& grad_crops);
void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* scratch,
                void* grad_boxes, cudaStream_t stream);

}  // namespace roi_align::cuda
