// The interface of roi_align's kernels: plain structs and units of work, as crop_and_resize's.
//
// A mean over a grid of samples is separable, border rule included: out = Wy F Wx', with two narrow band matrices for
// each box. They are the same for all channels, so they are computed once (roi_align/cpu/tables.h). A kernel weighs
// rows and then columns, in this order for every layout: out[i][j] = sum over x of Wx[j][x] * (sum over y of Wy[i][y] *
// F[y][x]).

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

// One level of a pyramid: N maps of the same number of channels, and the scale, its pixels per unit of an edge.
struct Level {
  ConstView map;
  double scale;
};

// The rule of pooling and the rule of levels.
struct Rule {
  PoolRule pool;
  LevelRule level;
  Pooling pooling;
};

// The first row whose index is not in [0, images), or -1.
int64_t first_bad_roi(const RoiList& rois, int64_t images);

// The first row with an edge, a side or, on its map, a sample position that is not finite, or -1. `scales` has one for
// each map.
int64_t first_roi_not_finite(const RoiList& rois, const Rule& rule, const double* scales);

}  // namespace roi_align
