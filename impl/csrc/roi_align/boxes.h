// Reading a list of boxes of roi_align: the image and the map of each, and its edges. Host and device share these
// lines.

#pragma once

#include "roi_align/kernels.h"

namespace roi_align {

template <typename T> ROI_ALIGN_HOST_DEVICE T roi_value(const RoiList& rois, int64_t row, int64_t column) {
  return static_cast<const T*>(rois.rows)[row * rois.stride[0] + column * rois.stride[1]];
}

// The index of a row's image as it stands there.
ROI_ALIGN_HOST_DEVICE inline double roi_index(const RoiList& rois, int64_t row) {
  return rois.dtype == DType::kFloat64 ? roi_value<double>(rois, row, 0)
                                       : static_cast<double>(roi_value<float>(rois, row, 0));
}

// The image that a row names, -1 if its index is no whole number from 0 on, or too large for an int32.
ROI_ALIGN_HOST_DEVICE inline int64_t roi_image(const RoiList& rois, int64_t row) {
  const double index = roi_index(rois, row);
  if (!(index >= 0 && index <= 2147483647.0)) return -1;
  const int64_t image = static_cast<int64_t>(index);
  return static_cast<double>(image) == index ? image : -1;
}

template <typename T>
ROI_ALIGN_HOST_DEVICE int64_t roi_level_of(const RoiList& rois, int64_t row, const LevelRule& rule) {
  return level_of(rule, roi_value<T>(rois, row, 1), roi_value<T>(rois, row, 2), roi_value<T>(rois, row, 3),
                  roi_value<T>(rois, row, 4));
}

// The map of a pyramid that a row is pooled from, or -1 if from none.
ROI_ALIGN_HOST_DEVICE inline int64_t roi_level(const RoiList& rois, int64_t row, const LevelRule& rule) {
  return rois.dtype == DType::kFloat64 ? roi_level_of<double>(rois, row, rule) : roi_level_of<float>(rois, row, rule);
}

// One axis of a row, y or x, on a map of this scale.
template <typename T>
ROI_ALIGN_HOST_DEVICE BinAxis<T> roi_axis(const RoiList& rois, int64_t row, bool is_y, double scale,
                                          const PoolRule& rule) {
  const int64_t first = is_y ? 2 : 1;
  return bin_axis(roi_value<T>(rois, row, first), roi_value<T>(rois, row, first + 2), static_cast<T>(scale), rule,
                  is_y ? rule.height : rule.width);
}

}  // namespace roi_align
