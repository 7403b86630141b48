// roi_align's operators: their schemas, and their implementation on the CPU.
//
// All of them take the levels of a pyramid; a single map is a pyramid of one level. The arguments that they share are
// the rule: a scale for each level, the sampling of a bin, and the level of a box.

#include <torch/csrc/stable/ops.h>

#include <vector>

#include "cpu/torch_cpu.h"
#include "roi_align/cpu/call.h"
#include "roi_align/torch_arguments.h"

namespace roi_align {
namespace {

using torch::headeronly::MemoryFormat;

// The levels in one layout that the kernels can read; levels in another layout are copied.
struct Features {
  std::vector<Tensor> maps;
  std::vector<Level> levels;
  bool channels_last;
};

RoiCall<TorchThreads> call_of(const RoiList& rois, const Rule& rule, const Features& features) {
  static constexpr TorchThreads kThreads;
  return {kThreads, rois, rule, features.levels, features.channels_last};
}

Tensor in_layout(const Tensor& map, bool channels_last) {
  const int64_t channels = map.size(1), pixel = map.stride(3);
  const bool fits = channels_last ? map.stride(1) == 1 && (channels >= kBlockOfPixels || pixel == channels)
                                  : pixel == 1 || map.size(3) == 1;
  if (fits) return map;
  return torch::stable::contiguous(map, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

Features features_of(const std::vector<Tensor>& tensors, const std::vector<double>& scales, bool channels_last) {
  check_levels(tensors, scales);
  Features features{{}, {}, channels_last};
  for (size_t k = 0; k < tensors.size(); ++k) {
    features.maps.push_back(in_layout(widen(tensors[k]), channels_last));
    features.levels.push_back({input_view(features.maps.back()), scales[k]});
  }
  return features;
}

// The same in the layout of the first level.
Features features_of(const std::vector<Tensor>& tensors, const std::vector<double>& scales) {
  check(!tensors.empty(), "there is at least one level");
  return features_of(tensors, scales, channels_innermost(tensors[0]));
}

// A dense upstream gradient in the layout of the maps.
Tensor dense_grad(const Tensor& grad, const Rule& rule, const RoiList& rois, int64_t channels, bool channels_last) {
  check_grad(grad, rule, rois, channels);
  return torch::stable::contiguous(widen(grad), channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

// Crops of these maps, written by work(call, view of the crops) and rounded to the dtype of `like`.
template <typename Work>
Tensor pool(const Features& features, const RoiList& rois, const Rule& rule, const Tensor& like, const Work& work) {
  const Tensor& first = features.maps[0];
  const Tensor crops =
      new_result(first, {rois.count, first.size(1), rule.pool.height, rule.pool.width}, features.channels_last);
  if (crops.numel() > 0) work(call_of(rois, rule, features), output_view(crops));
  return round_to_type_of(crops, like);
}

Tensor roi_align(const std::vector<Tensor>& tensors, const Tensor& boxes, const std::vector<double>& scales,
                 int64_t height, int64_t width, int64_t sampling_ratio, bool aligned, int64_t mode, int64_t first_level,
                 double canonical_scale, int64_t canonical_level, bool validate) {
  const Rule rule =
      rule_of(scales, height, width, sampling_ratio, aligned, mode, first_level, canonical_scale, canonical_level);
  const Features features = features_of(tensors, scales);
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  if (validate) check_finite(rois, rule, scales);
  return pool(features, rois, rule, tensors[0], [](const auto& call, const View& crops) { call.pool(crops); });
}

// For the double backward of the maximum: `values` pooled at the samples where `features` are largest.
Tensor roi_align_at_largest(const std::vector<Tensor>& values, const std::vector<Tensor>& tensors, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t height, int64_t width, int64_t sampling_ratio,
                            bool aligned, int64_t first_level, double canonical_scale, int64_t canonical_level) {
  const Rule rule = rule_of(scales, height, width, sampling_ratio, aligned, static_cast<int64_t>(Pooling::kMaximum),
                            first_level, canonical_scale, canonical_level);
  const Features features = features_of(tensors, scales), pooled = features_of(values, scales, features.channels_last);
  check(values[0].scalar_type() == output_type(tensors[0]), "values have the dtype of the output");
  for (size_t k = 0; k < values.size(); ++k) {
    check(same_size(pooled.levels[k].map, features.levels[k].map), "values have the shapes of the levels");
  }
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  std::vector<ConstView> maps;
  for (const Level& level : pooled.levels) maps.push_back(level.map);
  return pool(features, rois, rule, values[0],
              [&](const auto& call, const View& crops) { call.pool_at_largest(maps, crops); });
}

// `sizes` is N, then H and W of each level. Only the maximum reads the features, to find its samples.
std::vector<Tensor> roi_align_grad_features(const Tensor& grad, const std::vector<Tensor>& tensors, const Tensor& boxes,
                                            const std::vector<int64_t>& sizes, bool channels_last,
                                            const std::vector<double>& scales, int64_t sampling_ratio, bool aligned,
                                            int64_t mode, int64_t first_level, double canonical_scale,
                                            int64_t canonical_level) {
  check(grad.dim() == 4, "the gradient has four dimensions");
  const Rule rule = rule_of(scales, grad.size(2), grad.size(3), sampling_ratio, aligned, mode, first_level,
                            canonical_scale, canonical_level);
  const RoiList rois = roi_list(boxes);
  check(sizes.size() == 1 + 2 * scales.size(), "there is a size for each level");
  const int64_t images = sizes[0], channels = grad.size(1);
  check(images >= 0, "N is not negative");
  check_boxes(rois, images);
  const Tensor dense = dense_grad(grad, rule, rois, channels, channels_last);
  const bool maximum = rule.pooling == Pooling::kMaximum;
  Features features = maximum ? features_of(tensors, scales, channels_last) : Features{{}, {}, channels_last};
  std::vector<Tensor> results, outputs;
  std::vector<View> views;
  for (size_t k = 0; k < scales.size(); ++k) {
    check_map(sizes[2 * k + 1], sizes[2 * k + 2]);
    results.push_back(new_result(dense, {images, channels, sizes[2 * k + 1], sizes[2 * k + 2]}, channels_last));
    views.push_back(output_view(results.back()));
    if (maximum) {
      check_features(features.levels[k].map, views[k]);
    } else {
      features.levels.push_back({input_view(results.back()), scales[k]});  // only its sizes are read
    }
  }
  if (results[0].numel() > 0) call_of(rois, rule, features).grad_maps(input_view(dense), views);
  for (const Tensor& result : results) outputs.push_back(round_to_type_of(result, grad));
  return outputs;
}

template <typename T> void write_grad_boxes(const std::vector<double>& sums, T* rows) {
  for (size_t row = 0; row < sums.size() / 4; ++row) {
    rows[5 * row] = T(0);  // an index has no gradient
    for (size_t column = 0; column < 4; ++column) rows[5 * row + 1 + column] = static_cast<T>(sums[4 * row + column]);
  }
}

Tensor roi_align_grad_boxes(const Tensor& grad, const std::vector<Tensor>& tensors, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t sampling_ratio, bool aligned, int64_t mode,
                            int64_t first_level, double canonical_scale, int64_t canonical_level) {
  check(grad.dim() == 4, "the gradient has four dimensions");
  const Rule rule = rule_of(scales, grad.size(2), grad.size(3), sampling_ratio, aligned, mode, first_level,
                            canonical_scale, canonical_level);
  const Features features = features_of(tensors, scales);
  check(grad.scalar_type() == output_type(tensors[0]), "the gradient has the dtype of the output");
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  const Tensor dense = dense_grad(grad, rule, rois, features.maps[0].size(1), features.channels_last);
  Tensor result = new_rows(boxes, 5);
  const std::vector<double> sums = dense.numel() > 0 ? call_of(rois, rule, features).grad_boxes(input_view(dense))
                                                     : std::vector<double>(static_cast<size_t>(4 * rois.count), 0.0);
  with_float(rois.dtype,
             [&](auto type) { write_grad_boxes(sums, static_cast<decltype(type)*>(result.mutable_data_ptr())); });
  return result;
}

#define ROI_ALIGN_RULE \
  "int sampling_ratio, bool aligned, int mode, int first_level, float canonical_scale, int canonical_level"

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(roi_align, m) {
  m.def("roi_align(Tensor[] features, Tensor boxes, float[] scales, SymInt height, SymInt width, " ROI_ALIGN_RULE
        ", bool validate) -> Tensor");
  m.def(
      "roi_align_at_largest(Tensor[] values, Tensor[] features, Tensor boxes, float[] scales, SymInt height, SymInt "
      "width, int sampling_ratio, bool aligned, int first_level, float canonical_scale, int canonical_level) -> "
      "Tensor");
  m.def(
      "roi_align_grad_features(Tensor grad, Tensor[] features, Tensor boxes, SymInt[] sizes, bool channels_last, "
      "float[] scales, " ROI_ALIGN_RULE ") -> Tensor[]");
  m.def("roi_align_grad_boxes(Tensor grad, Tensor[] features, Tensor boxes, float[] scales, " ROI_ALIGN_RULE
        ") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_at_largest", TORCH_BOX(&roi_align_at_largest));
  m.impl("roi_align_grad_features", TORCH_BOX(&roi_align_grad_features));
  m.impl("roi_align_grad_boxes", TORCH_BOX(&roi_align_grad_boxes));
}

}  // namespace roi_align
