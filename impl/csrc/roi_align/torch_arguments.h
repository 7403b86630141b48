// The parts that the bindings of roi_align share on both devices: the rule, the list of boxes, and checks of the
// shapes.

#pragma once

#include <cmath>
#include <vector>

#include "common/torch_tensors.h"
#include "roi_align/boxes.h"

namespace roi_align {
namespace {

inline Rule rule_of(const std::vector<double>& scales, int64_t height, int64_t width, int64_t sampling_ratio,
                    bool aligned, int64_t mode, int64_t first_level, double canonical_scale, int64_t canonical_level) {
  check(height > 0 && width > 0, "the output size is positive");
  check(!scales.empty(), "there is at least one level");
  check(mode == 0 || mode == 1, "the mode is 0 or 1");
  return {{height, width, sampling_ratio, aligned},
          level_rule(first_level, scales.data(), static_cast<int64_t>(scales.size()), canonical_scale, canonical_level),
          static_cast<Pooling>(mode)};
}

inline RoiList roi_list(const Tensor& boxes) {
  check(boxes.dim() == 2 && boxes.size(1) == 5, "boxes have shape (K, 5)");
  const RoiList list{boxes.size(0), boxes.const_data_ptr(), dtype_of(boxes), {boxes.stride(0), boxes.stride(1)}};
  check(list.dtype == DType::kFloat32 || list.dtype == DType::kFloat64, "boxes are float32 or float64");
  return list;
}

// IndexError for the first box with a bad index; the list is in host memory.
inline void check_boxes(const RoiList& rois, int64_t images) {
  const int64_t bad = first_bad_roi(rois, images);
  if (bad < 0) return;
  const double index = roi_index(rois, bad);
  const bool whole = std::fabs(index) < 1e15 && index == std::trunc(index);
  throw_bad_index("boxes[" + std::to_string(bad) + "] has the index " +
                      (whole ? std::to_string(static_cast<int64_t>(index)) : std::to_string(index)),
                  "input", images);
}

// ValueError for the first box that is not finite.
inline void check_finite(const RoiList& rois, const Rule& rule, const std::vector<double>& scales) {
  const int64_t bad = first_roi_not_finite(rois, rule, scales.data());
  if (bad >= 0) throw_not_finite(bad);
}

inline void check_map(int64_t height, int64_t width) {
  check(height > 0 && width > 0, "a map has at least one row and one column");
  check(height <= INT32_MAX && width <= INT32_MAX, "a map has fewer than 2^31 rows and columns");
}

inline void check_levels(const std::vector<Tensor>& levels, const std::vector<double>& scales) {
  check(!levels.empty(), "there is at least one level");
  check(levels.size() == scales.size(), "there is a scale for each level");
  for (const Tensor& level : levels) {
    check(level.dim() == 4, "a level has four dimensions");
    check(level.scalar_type() == levels[0].scalar_type(), "all levels have one dtype");
    check(level.size(0) == levels[0].size(0) && level.size(1) == levels[0].size(1), "all levels have the same N and C");
    check_map(level.size(2), level.size(3));
  }
}

// Checks the features of a maximum's gradient.
inline void check_features(const ConstView& feature, const View& gradient) {
  check(same_size(feature, gradient) && feature.dtype == gradient.dtype,
        "the features have the sizes and the dtype of the gradient");
}

inline void check_grad(const Tensor& grad, const Rule& rule, const RoiList& rois, int64_t channels) {
  check(grad.dim() == 4 && grad.size(0) == rois.count && grad.size(1) == channels && grad.size(2) == rule.pool.height &&
            grad.size(3) == rule.pool.width,
        "the gradient has the shape of the output");
}

}  // namespace
}  // namespace roi_align
