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

template <typename T> bool finite(const RoiList& rois, int64_t row) {
  // If an edge is not finite, neither is its side.
  return std::isfinite(roi_value<T>(rois, row, 3) - roi_value<T>(rois, row, 1)) &&
         std::isfinite(roi_value<T>(rois, row, 4) - roi_value<T>(rois, row, 2));
}

}  // namespace

int64_t first_roi_not_finite(const RoiList& rois) {
  for (int64_t row = 0; row < rois.count; ++row) {
    if (!(rois.dtype == DType::kFloat64 ? finite<double>(rois, row) : finite<float>(rois, row))) return row;
  }
  return -1;
}

}  // namespace roi_align
