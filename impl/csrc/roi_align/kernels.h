// The interface of roi_align's kernels: plain structs and units of work, as crop_and_resize's.
//
// A mean over a grid of samples is separable, border rule included: out = Wy F Wx', two narrow band matrices for each
// box. They are the same for all channels, so they are made once (roi_align/cpu/tables.h), and what a kernel does is
// weigh rows and then columns, always in this order, whatever the layout: out[i][j] = sum over x of Wx[j][x] * (sum
// over y of Wy[i][y] * F[y][x]).

#pragma once

#include "common/units.h"
#include "common/view.h"
#include "roi_align/rule.h"

namespace roi_align {

// K rows (index, x1, y1, x2, y2); strides in elements.
struct RoiList {
  int64_t count;
  const void* rows;
  DType dtype;
  int64_t stride[2];
};

// One level of a pyramid: N maps of the same number of channels, and how many of its pixels one unit of an edge is.
struct Level {
  ConstView map;
  double scale;
};

// How boxes are pooled, and from which level each is.
struct Rule {
  PoolRule pool;
  LevelRule level;
  Pooling pooling;
};

// The first row whose index is not in [0, images), or -1.
int64_t first_bad_roi(const RoiList& rois, int64_t images);

// The first row with an edge or a side that is not finite, or -1.
int64_t first_roi_not_finite(const RoiList& rois);

}  // namespace roi_align
