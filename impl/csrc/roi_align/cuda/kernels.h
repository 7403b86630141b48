// The interface of roi_align's CUDA kernels: crop_and_resize/cuda/kernels.h has what is true
// of all of them, roi_align/kernels.h what is pooled.
//
// All levels of a pyramid are pooled by one launch: a kernel is given every level by value, and finds a box's own
// itself.

#pragma once

#include <cuda_runtime.h>

#include "roi_align/kernels.h"

namespace roi_align::cuda {

// Kernels' parameters end at 4 KB. Levels halve, so that more of them would begin with a map of 2^16 pixels a side.
constexpr int64_t kMostLevels = 16;

// The maps of a call, all of one N, C and dtype, of any strides.
template <typename Void> struct Pyramid {
  int64_t levels;
  BasicView<Void> map[kMostLevels];
};
using Maps = Pyramid<void>;
using ConstMaps = Pyramid<const void>;

// Which boxes are pooled, and how. `scale` has one for each level.
struct Pools {
  RoiList rois;
  PoolRule rule;
  LevelRule level;
  double scale[kMostLevels];
};

// The mean, forward, to the CPU's bits. Maps whose taps shared memory cannot hold need scratch for them, others none.
int64_t roi_forward_scratch(const ConstMaps& maps, const Pools& pools);
void roi_forward(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream);

// The gradient of the maps, in an order that the list of boxes alone decides: every tile of them gathers from the boxes
// that reach it and is written once, zeros included. `scratch` is memory for where each box lies.
int64_t roi_grad_maps_scratch(const Maps& grad_maps, int64_t boxes);
void roi_grad_maps(const ConstView& grad_crops, const Pools& pools, const Maps& grad_maps, void* scratch,
                   cudaStream_t stream);

// The gradient of the boxes, (K, 5) contiguous in their dtype, 0 for the index. Sums have one order for one layout.
// `scratch` is memory for partial sums, doubles, and for taps as in the forward.
int64_t roi_grad_boxes_scratch(const ConstMaps& maps, const Pools& pools);
void roi_grad_boxes(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, void* scratch,
                    void* grad_boxes, cudaStream_t stream);

// The same three for the maximum. `maps` say which sample is the largest, `values`, of the same shapes, what is pooled.
// The gradient of the maps has the scratch of the mean's.
void roi_max_forward(const ConstMaps& maps, const ConstMaps& values, const Pools& pools, const View& crops,
                     cudaStream_t stream);
void roi_max_grad_maps(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, const Maps& grad_maps,
                       void* scratch, cudaStream_t stream);
int64_t roi_max_grad_boxes_scratch(const ConstMaps& maps, const Pools& pools);
void roi_max_grad_boxes(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, void* scratch,
                        void* grad_boxes, cudaStream_t stream);

}  // namespace roi_align::cuda
