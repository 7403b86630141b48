// What roi_align's kernels are given, and how their work is cut: into units that own what they write, each a part of
// the boxes of one map in a block of channels.

#pragma once

#include <vector>

#include "roi_align/cpu/tables.h"

namespace roi_align {

// From so many channels on, innermost ones fill vectors as they lie.
constexpr int64_t kBlockOfPixels = 16;

// One call: tables is a RoiTables<float> or <double>, as the maps and crops hold float32 or float64. All of these have
// one layout, and are dense but for the strides of rows, planes and images on kRows, of all but channels on kPixels;
// crops, upstream gradients and gradients of maps are dense.
struct RoiJob {
  DType dtype;
  const void* tables;
  const RoiList* rois;
  Pooling pooling;
  const std::vector<Level>* levels;
  PoolRule rule;
  int64_t images;
  int64_t channels;
  bool pixels;    // many channels lie innermost
  int64_t inner;  // otherwise: the channels that lie next to each other in a row
};

// Channels first <= c < first + channels (on kRows of `inner` channels each) of the boxes begin <= k < end as the
// tables order them, which are of one map: image `map % images` of level `map / images`.
struct RoiUnit {
  int64_t map, first, channels, begin, end;
};
using RoiUnits = std::vector<RoiUnit>;

// How each map is walked, for RoiTables::paths: it depends on shapes and boxes alone, never on the number of threads.
std::vector<RoiPath> roi_paths(const RoiJob& job, const std::vector<int64_t>& buckets);

// Forward.
RoiUnits cut_roi_forward(const RoiJob& job, int64_t threads);
using RoiForwardKernel = void(const RoiJob& job, const View& crops, const RoiUnits& work, Units* units);

// Gradient of the maps. A unit clears what it owns, then adds what its boxes send there, in the tables' order, bin by
// bin.
RoiUnits cut_roi_grad_maps(const RoiJob& job, int64_t threads);
using RoiGradMapsKernel = void(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiUnits& work,
                               Units* units);

// Gradient of the boxes. A unit leaves four doubles, x1, y1, x2, y2, for each of its boxes and blocks of channels in
// partial[roi_grad_boxes_blocks][K][4], to be added up block by block.
int64_t roi_grad_boxes_blocks(const RoiJob& job);
RoiUnits cut_roi_grad_boxes(const RoiJob& job, int64_t threads);
using RoiGradBoxesKernel = void(const RoiJob& job, const void* grad, double* partial, const RoiUnits& work,
                                Units* units);

// The maximum is not separable: sample by sample, on planes of any strides. The maps are those that say which sample is
// the largest; `values`, of the same shapes, are what is pooled there. Of boxes begin <= k < end as the tables order
// them, or of the planes of roi_max_grad_maps.
void roi_max_at_largest(const RoiJob& job, const std::vector<ConstView>& values, const View& crops, Part channels,
                        int64_t begin, int64_t end);
void roi_max_grad_maps(const RoiJob& job, const ConstView& grad, const std::vector<View>& maps, int64_t begin,
                       int64_t end);
void roi_max_grad_boxes(const RoiJob& job, const ConstView& grad, double* grad_boxes, int64_t begin, int64_t end);

}  // namespace roi_align
