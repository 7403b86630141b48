// The arguments of roi_align's kernels, and the division of their work into units that own the memory they write: each
// is a part of the boxes of one map in a block of channels.

#pragma once

#include <vector>

#include "roi_align/cpu/tables.h"

namespace roi_align {

// The number of channels from which innermost channels fill vectors without a turn.
constexpr int64_t kBlockOfPixels = 16;

// Up to so many channels, the maximum has four lanes instead of a block of them, and all maps are on kRows.
constexpr int64_t kFewChannels = 4;

// One call: tables is a RoiTables<float> or <double>, for maps and crops of float32 or float64. All of them have one
// layout. Maps on kRows may have any strides of rows, planes and images; maps on kPixels any strides but that of
// channels. Crops, upstream gradients and gradients of maps are dense.
struct RoiJob {
  DType dtype;
  const void* tables;
  const RoiList* rois;
  Pooling pooling;
  const std::vector<Level>* levels;
  PoolRule rule;
  int64_t images;
  int64_t channels;
  bool pixels;    // there are many channels, and they are innermost
  int64_t inner;  // otherwise: the adjacent channels of a pixel in a row
};

// Channels first <= c < first + channels (on kRows of `inner` channels each) of the boxes begin <= k < end in the order
// of the tables. The boxes belong to one map: image `map % images` of level `map / images`.
struct RoiUnit {
  int64_t map, first, channels, begin, end;
};
using RoiUnits = std::vector<RoiUnit>;

// The path of each map, for RoiTables::paths: it depends on shapes and boxes only, never on the number of threads.
std::vector<RoiPath> roi_paths(const RoiJob& job, const std::vector<int64_t>& buckets);

// Forward.
RoiUnits cut_roi_forward(const RoiJob& job, int64_t threads);
using RoiForwardKernel = void(const RoiJob& job, const View& crops, const RoiUnits& work, Units* units);

// Gradient of the maps. A unit sets its planes to zero, then adds the contributions of its boxes, in the tables' order,
// bin by bin.
RoiUnits cut_roi_grad_maps(const RoiJob& job, int64_t threads);
using RoiGradMapsKernel = void(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiUnits& work,
                               Units* units);

// Gradient of the boxes. A unit writes four doubles, x1, y1, x2, y2, for each of its boxes and blocks of channels to
// partial[roi_grad_boxes_blocks][K][4]; the caller adds them up, block by block.
int64_t roi_grad_boxes_blocks(const RoiJob& job);
RoiUnits cut_roi_grad_boxes(const RoiJob& job, int64_t threads);
using RoiGradBoxesKernel = void(const RoiJob& job, const void* grad, double* partial, const RoiUnits& work,
                                Units* units);

// For the double backward of the maximum: pools `values`, of the shapes and the layout of the maps, at the samples that
// are the largest of the maps. The units are those of the forward.
using RoiAtLargestKernel = void(const RoiJob& job, const std::vector<ConstView>& values, const View& crops,
                                const RoiUnits& work, Units* units);

}  // namespace roi_align
