// Checks of the boxes before any kernel runs: each index is in range and, with validate, each box is finite.

#include "roi_align/boxes.h"

#include <cmath>

namespace roi_align {

int64_t first_bad_roi(const RoiList& rois, int64_t images) {
  for (int64_t row = 0; row < rois.count; ++row) {
    const int64_t image = roi_image(rois, row);
    if (image < 0 || image >= images) return row;
  }
  return -1;
}

namespace {

template <typename T> bool finite(const RoiList& rois, int64_t row, const Rule& rule, const double* scales) {
  const int64_t level = roi_level(rois, row, rule.level);
  for (const int64_t first : {1, 2}) {
    const bool is_y = first == 2;
    // If an edge is not finite, neither is its side.
    if (!std::isfinite(roi_value<T>(rois, row, first + 2) - roi_value<T>(rois, row, first))) return false;
    if (level < 0) continue;
    // All samples lie between the two ends of the axis.
    const BinAxis<T> axis = roi_axis<T>(rois, row, is_y, scales[level], rule.pool);
    const int64_t bins = is_y ? rule.pool.height : rule.pool.width;
    if (!std::isfinite(axis.start) || !std::isfinite(axis.base(bins))) return false;
  }
  return true;
}

}  // namespace

int64_t first_roi_not_finite(const RoiList& rois, const Rule& rule, const double* scales) {
  for (int64_t row = 0; row < rois.count; ++row) {
    const bool is_finite = rois.dtype == DType::kFloat64 ? finite<double>(rois, row, rule, scales)
                                                         : finite<float>(rois, row, rule, scales);
    if (!is_finite) return row;
  }
  return -1;
}

}  // namespace roi_align
