// What roi_align's kernels are given, and how their work is cut. A kernel computes a range of units and nothing else;
// units own what they write.

#pragma once

#include <vector>

#include "roi_tables.h"

namespace roi_align {

// How a map is walked.
enum class RoiPath : int8_t {
  kRows,    // rows of a plane, or of a map of few channels that lie innermost: vectors along the row, then across bins
  kPixels,  // many channels, innermost: vectors along the channels
};

// From so many channels on, innermost ones fill vectors as they lie.
constexpr int64_t kBlockOfPixels = 16;

// One call: tables is a RoiTables<float> or <double>, as the maps and crops hold float32 or float64. All of these have
// one layout, and are dense but for the strides of rows, planes and images on kRows, of all but channels on kPixels;
// crops, upstream gradients and gradients of maps are dense.
struct RoiJob {
  DType dtype;
  const void* tables;
  const std::vector<Level>* levels;
  PoolRule rule;
  int64_t images;
  int64_t channels;
  RoiPath path;
  int64_t inner;  // on kRows: the channels that lie next to each other in a row
};

struct RoiCut {
  int64_t channel_block;
  int64_t channel_blocks;
  int64_t parts;  // of the boxes
  int64_t units;
};

// Forward. A unit is a part of the boxes in a block of channels.
RoiCut cut_roi_forward(const RoiJob& job, int64_t threads);
void roi_forward(const RoiJob& job, void* crops, const RoiCut& cut, int64_t begin, int64_t end);

// Gradient of the maps. A unit is a block of channels of one image of one level: it clears what it owns, then adds what
// the boxes send there, in the tables' order, bin by bin.
RoiCut cut_roi_grad_maps(const RoiJob& job, int64_t threads);
void roi_grad_maps(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiCut& cut, int64_t begin,
                   int64_t end);

// Gradient of the boxes, doubles (K, 4): x1, y1, x2, y2. Planes only, inner == 1. A unit is a box.
void roi_grad_boxes(const RoiJob& job, const void* grad, double* grad_boxes, int64_t begin, int64_t end);

// The same three for the maximum, which is not separable: sample by sample, on planes of any strides. The maps are those
// that say which sample is the largest; `values`, of the same shapes, are what is pooled: for the forward itself the same
// maps. A unit is as above, of roi_max_grad_maps one plane.
void roi_max_forward(const RoiJob& job, const RoiList& rois, const LevelRule& level_rule,
                     const std::vector<ConstView>& values, const View& crops, int64_t begin, int64_t end);
void roi_max_grad_maps(const RoiJob& job, const RoiList& rois, const LevelRule& level_rule, const ConstView& grad,
                       const std::vector<View>& maps, int64_t begin, int64_t end);
void roi_max_grad_boxes(const RoiJob& job, const RoiList& rois, const LevelRule& level_rule, const ConstView& grad,
                        double* grad_boxes, int64_t begin, int64_t end);

}  // namespace roi_align
