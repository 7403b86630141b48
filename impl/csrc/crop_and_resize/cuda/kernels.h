// The CUDA kernels' interface: the CPU's plain structs, with pointers into device memory, and a stream.
//
// Every function enqueues its kernels and returns: nothing here waits for the device, reads what is on it or allocates,
// so each may be captured into a graph. A launch that is refused is a std::runtime_error. Nothing may be empty: who has
// no samples or no channels does not call.
//
// A box whose index names no image is never followed: its crop is NaN, and it adds nothing to any gradient.

#pragma once

#include <cuda_runtime.h>

#include "crop_and_resize/kernels.h"

namespace roi_align::cuda {

// Crops (M,C,h,w); the bits are the CPU's.
void forward(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value, const View& crops,
             cudaStream_t stream);

// The gradient of the image in no fixed order: every sample adds to its pixels by atomics. `sums` is an image of zeros
// in the type that is summed in, float32, or float64 for crops of float64; for halves the caller rounds it afterwards.
void grad_image_atomic(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& sums,
                       cudaStream_t stream);

// The gradient of the image in the CPU's order, to the same bits: every tile of it gathers from the boxes that reach
// it, in the order of the boxes, and is written once. `scratch` is memory for where each box reaches. A crop of 2^31 or
// more samples a side is a std::invalid_argument.
int64_t grad_image_gather_scratch(const View& grad_image, int64_t boxes);
void grad_image_gather(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                       void* scratch, cudaStream_t stream);

// The gradient of the boxes, (M, 4) contiguous in the dtype of the edges. Sums have one order for one layout of the
// inputs, so it is repeatable. `scratch` is memory for partial sums, doubles.
int64_t grad_boxes_scratch(const ConstView& grad_crops);
void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* scratch,
                void* grad_boxes, cudaStream_t stream);

}  // namespace roi_align::cuda
