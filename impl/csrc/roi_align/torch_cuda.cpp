// roi_align's operators on CUDA: the schemas are roi_align/torch_cpu.cpp's. Nothing waits for the device: a box whose
// index names no image is the kernels' to notice, who alone read the boxes.

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/torch_cuda.h"
#include "roi_align/cuda/kernels.h"
#include "roi_align/torch_arguments.h"

namespace roi_align {
namespace {

void check_device_of_all(const std::vector<Tensor>& tensors, const Tensor& boxes) {
  for (const Tensor& tensor : tensors) check_one_device(tensor, boxes, boxes);
}

// The levels as the kernels read them, in any strides; integers are widened first.
struct Levels {
  std::vector<Tensor> floats;
  cuda::ConstMaps maps;
  bool channels_last;
};

Levels levels_of(const std::vector<Tensor>& features, const std::vector<double>& scales) {
  check_levels(features, scales);
  Levels levels = {{}, {}, channels_innermost(features[0])};
  for (const Tensor& level : features) {
    levels.floats.push_back(as_floats(level));
    levels.maps.map[levels.maps.levels++] = input_view(levels.floats.back());
  }
  return levels;
}

cuda::Pools pools_of(const Tensor& boxes, const Rule& rule, const std::vector<double>& scales) {
  check(static_cast<int64_t>(scales.size()) <= cuda::kMostLevels, "a pyramid has at most 16 levels on CUDA");
  check(rule.pool.height <= INT32_MAX && rule.pool.width <= INT32_MAX, "a side of the output is below 2^31");
  cuda::Pools pools = {roi_list(boxes), rule.pool, rule.level, {}};
  std::copy(scales.begin(), scales.end(), pools.scale);
  return pools;
}

Tensor new_crops(const Levels& levels, const cuda::Pools& pools) {
  return new_tensor(levels.floats[0], {pools.rois.count, levels.floats[0].size(1), pools.rule.height, pools.rule.width},
                    levels.channels_last);
}

Tensor roi_align(const std::vector<Tensor>& features, const Tensor& boxes, const std::vector<double>& scales,
                 int64_t height, int64_t width, int64_t sampling_ratio, bool aligned, int64_t mode, int64_t first_level,
                 double canonical_scale, int64_t canonical_level, bool validate) {
  check_device_of_all(features, boxes);
  const DeviceGuard guard(boxes.get_device_index());
  const Rule rule =
      rule_of(scales, height, width, sampling_ratio, aligned, mode, first_level, canonical_scale, canonical_level);
  const cuda::Pools pools = pools_of(boxes, rule, scales);
  const Levels levels = levels_of(features, scales);
  if (validate) {
    const Tensor host_boxes = on_host(boxes);
    const RoiList rois = roi_list(host_boxes);
    check_boxes(rois, levels.floats[0].size(0));
    check_finite(rois, rule, scales);
  }
  const Tensor crops = new_crops(levels, pools);
  if (crops.numel() == 0) return crops;
  if (rule.pooling == Pooling::kMaximum) {
    cuda::roi_max_forward(levels.maps, levels.maps, pools, output_view(crops), current_stream(boxes));
    return crops;
  }
  const Scratch scratch(boxes, cuda::roi_forward_scratch(levels.maps, pools));
  cuda::roi_forward(levels.maps, pools, output_view(crops), scratch.data(), current_stream(boxes));
  return crops;
}

Tensor roi_align_at_largest(const std::vector<Tensor>& values, const std::vector<Tensor>& features, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t height, int64_t width, int64_t sampling_ratio,
                            bool aligned, int64_t first_level, double canonical_scale, int64_t canonical_level) {
  check_device_of_all(values, boxes);
  check_device_of_all(features, boxes);
  const DeviceGuard guard(boxes.get_device_index());
  const Rule rule = rule_of(scales, height, width, sampling_ratio, aligned, static_cast<int64_t>(Pooling::kMaximum),
                            first_level, canonical_scale, canonical_level);
  const cuda::Pools pools = pools_of(boxes, rule, scales);
  const Levels levels = levels_of(features, scales), pooled = levels_of(values, scales);
  check(values[0].scalar_type() == levels.floats[0].scalar_type(), "values have the dtype of the output");
  for (size_t k = 0; k < values.size(); ++k) {
    check(same_size(pooled.maps.map[k], levels.maps.map[k]), "values have the shapes of the levels");
  }
  const Tensor crops = new_crops(levels, pools);
  if (crops.numel() == 0) return crops;
  cuda::roi_max_forward(levels.maps, pooled.maps, pools, output_view(crops), current_stream(boxes));
  return crops;
}

// `sizes` is N, then H and W of each level.
std::vector<Tensor> roi_align_grad_features(const Tensor& grad, const std::vector<Tensor>& features,
                                            const Tensor& boxes, const std::vector<int64_t>& sizes, bool channels_last,
                                            const std::vector<double>& scales, int64_t sampling_ratio, bool aligned,
                                            int64_t mode, int64_t first_level, double canonical_scale,
                                            int64_t canonical_level) {
  check_one_device(grad, boxes, boxes);
  check_device_of_all(features, boxes);
  const DeviceGuard guard(boxes.get_device_index());
  check(grad.dim() == 4, "the gradient has four dimensions");
  const Rule rule = rule_of(scales, grad.size(2), grad.size(3), sampling_ratio, aligned, mode, first_level,
                            canonical_scale, canonical_level);
  const cuda::Pools pools = pools_of(boxes, rule, scales);
  check(sizes.size() == 1 + 2 * scales.size(), "there is a size for each level");
  check(sizes[0] >= 0, "N is not negative");
  check_grad(grad, rule, pools.rois, grad.size(1));
  const ConstView grad_view = input_view(grad);
  std::vector<Tensor> results;
  cuda::Maps maps = {};
  for (size_t k = 0; k < scales.size(); ++k) {
    check_map(sizes[2 * k + 1], sizes[2 * k + 2]);
    results.push_back(new_tensor(grad, {sizes[0], grad.size(1), sizes[2 * k + 1], sizes[2 * k + 2]}, channels_last));
    maps.map[maps.levels++] = output_view(results.back());
  }
  const bool maximum = rule.pooling == Pooling::kMaximum;
  Levels levels = {};
  if (maximum) {
    levels = levels_of(features, scales);
    for (size_t k = 0; k < scales.size(); ++k) check_features(levels.maps.map[k], maps.map[k]);
  }
  if (results[0].numel() == 0) return results;
  const Scratch scratch(grad, cuda::roi_grad_maps_scratch(maps, pools.rois.count));
  void* const memory = scratch.data();
  if (maximum) {
    cuda::roi_max_grad_maps(grad_view, levels.maps, pools, maps, memory, current_stream(grad));
  } else {
    cuda::roi_grad_maps(grad_view, pools, maps, memory, current_stream(grad));
  }
  return results;
}

Tensor roi_align_grad_boxes(const Tensor& grad, const std::vector<Tensor>& features, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t sampling_ratio, bool aligned, int64_t mode,
                            int64_t first_level, double canonical_scale, int64_t canonical_level) {
  check_one_device(grad, boxes, boxes);
  check_device_of_all(features, boxes);
  const DeviceGuard guard(boxes.get_device_index());
  check(grad.dim() == 4, "the gradient has four dimensions");
  const Rule rule = rule_of(scales, grad.size(2), grad.size(3), sampling_ratio, aligned, mode, first_level,
                            canonical_scale, canonical_level);
  const cuda::Pools pools = pools_of(boxes, rule, scales);
  const Levels levels = levels_of(features, scales);
  check(grad.scalar_type() == levels.floats[0].scalar_type(), "the gradient has the dtype of the output");
  check_grad(grad, rule, pools.rois, levels.floats[0].size(1));
  const ConstView grad_view = input_view(grad);
  Tensor result = new_rows(boxes, 5);
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const bool maximum = rule.pooling == Pooling::kMaximum;
  const Scratch scratch(grad, maximum ? cuda::roi_max_grad_boxes_scratch(levels.maps, pools)
                                      : cuda::roi_grad_boxes_scratch(levels.maps, pools));
  const auto gradient = maximum ? cuda::roi_max_grad_boxes : cuda::roi_grad_boxes;
  gradient(grad_view, levels.maps, pools, scratch.data(), result.mutable_data_ptr(), current_stream(grad));
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(roi_align, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_at_largest", TORCH_BOX(&roi_align_at_largest));
  m.impl("roi_align_grad_features", TORCH_BOX(&roi_align_grad_features));
  m.impl("roi_align_grad_boxes", TORCH_BOX(&roi_align_grad_boxes));
}

}  // namespace roi_align
