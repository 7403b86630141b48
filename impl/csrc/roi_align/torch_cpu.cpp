// roi_align's operators: their schemas, and their implementation on the CPU.
//
// All of them take the levels of a pyramid; a single map is a pyramid of one level. What they share of their arguments
// is the rule: a scale for each level, how many samples a bin has and where, and which level a box belongs to.

#include <torch/csrc/stable/ops.h>

#include <vector>

#include "cpu/torch_cpu.h"
#include "roi_align/cpu/jobs.h"
#include "roi_align/torch_arguments.h"

namespace roi_align {
namespace {

using torch::headeronly::MemoryFormat;

// The levels in one layout that the kernels walk, copied only where they are in none.
struct Features {
  std::vector<Tensor> maps;
  std::vector<Level> levels;
  bool channels_last;
};

Tensor laid_out(const Tensor& map, bool channels_last) {
  const int64_t channels = map.size(1), pixel = map.stride(3);
  const bool fits = channels_last ? map.stride(1) == 1 && (channels >= kBlockOfPixels || pixel == channels)
                                  : pixel == 1 || map.size(3) == 1;
  if (fits) return map;
  return torch::stable::contiguous(map, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

Features features_of(const std::vector<Tensor>& given, const std::vector<double>& scales, bool channels_last) {
  check_levels(given, scales);
  Features features{{}, {}, channels_last};
  for (size_t k = 0; k < given.size(); ++k) {
    features.maps.push_back(laid_out(widened(given[k]), channels_last));
    features.levels.push_back({input_view(features.maps.back()), scales[k]});
  }
  return features;
}

// In the layout of the first of them.
Features features_of(const std::vector<Tensor>& given, const std::vector<double>& scales) {
  check(!given.empty(), "there is at least one level");
  return features_of(given, scales, channels_innermost(given[0]));
}

// A dense upstream gradient in the layout of the maps.
Tensor dense_grad(const Tensor& grad, const Rule& rule, const RoiList& rois, int64_t channels, bool channels_last) {
  check_grad(grad, rule, rois, channels);
  return torch::stable::contiguous(widened(grad),
                                   channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

RoiJob job_of(const std::vector<Level>& levels, const Rule& rule, bool channels_last) {
  const ConstView& first = levels[0].map;
  const int64_t channels = first.size[1];
  const bool pixels = channels_last && channels >= kBlockOfPixels;
  return {first.dtype,   nullptr,  &levels, rule.pool,
          first.size[0], channels, pixels,  channels_last && !pixels ? channels : 1};
}

template <typename Acc>
void make_tables(const RoiList& rois, const Rule& rule, bool slopes, RoiJob* job, RoiTables<Acc>* tables) {
  order_boxes(rois, rule.level, *job->levels, job->images, tables);
  tables->paths = roi_paths(*job, tables->buckets);
  job->tables = tables;
  if (rois.count == 0 || rule.pooling == Pooling::kMaximum) return;  // a maximum takes its samples one by one
  const int64_t chunks = static_cast<int64_t>(tables->chunks.size());
  const int64_t bins = rois.count * (rule.pool.height + rule.pool.width);
  run(chunks, 16 * bins, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      fill_chunk(rois, rule.level, *job->levels, rule.pool, slopes, chunk, tables);
    }
  });
  measure_tables(tables);
}

// Calls `work(job)` with the tables for the type that is summed in.
template <typename Work>
void with_tables(const RoiList& rois, const Rule& rule, bool slopes, RoiJob job, const Work& work) {
  with_float(job.dtype, [&](auto type) {
    RoiTables<decltype(type)> tables;
    make_tables(rois, rule, slopes, &job, &tables);
    work(job);
  });
}

// Pools `values`, which are the features themselves, or for the maximum what is taken at the features' largest samples.
Tensor pool(const Features& values, const Features& features, const RoiList& rois, const Rule& rule,
            const Tensor& like) {
  const Tensor crops = new_result(
      values.maps[0], {rois.count, values.maps[0].size(1), rule.pool.height, rule.pool.width}, features.channels_last);
  if (crops.numel() == 0) return rounded(crops, like);
  const View crops_view = output_view(crops);
  std::vector<ConstView> pooled;
  for (const Level& level : values.levels) pooled.push_back(level.map);
  with_tables(rois, rule, false, job_of(features.levels, rule, features.channels_last), [&](const RoiJob& job) {
    if (rule.pooling == Pooling::kMaximum) {
      run(rois.count, 16 * crops.numel(),
          [&](int64_t begin, int64_t end) { roi_max_forward(job, rois, rule.level, pooled, crops_view, begin, end); });
      return;
    }
    const RoiUnits work = cut_roi_forward(job, torch::stable::get_num_threads());
    share(static_cast<int64_t>(work.size()), 4 * crops.numel(),
          [&](Units* units) { kernels().roi_forward(job, crops_view.data, work, units); });
  });
  return rounded(crops, like);
}

Tensor roi_align(const std::vector<Tensor>& given, const Tensor& boxes, const std::vector<double>& scales,
                 int64_t height, int64_t width, int64_t sampling_ratio, bool aligned, int64_t mode, int64_t first_level,
                 double canonical_scale, int64_t canonical_level, bool validate) {
  const Rule rule =
      rule_of(scales, height, width, sampling_ratio, aligned, mode, first_level, canonical_scale, canonical_level);
  const Features features = features_of(given, scales);
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  if (validate) check_finite(rois);
  return pool(features, features, rois, rule, given[0]);
}

// What the double backward of the maximum needs: `values` pooled where `features` are largest.
Tensor roi_align_at_largest(const std::vector<Tensor>& values, const std::vector<Tensor>& given, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t height, int64_t width, int64_t sampling_ratio,
                            bool aligned, int64_t first_level, double canonical_scale, int64_t canonical_level) {
  const Rule rule = rule_of(scales, height, width, sampling_ratio, aligned, static_cast<int64_t>(Pooling::kMaximum),
                            first_level, canonical_scale, canonical_level);
  const Features features = features_of(given, scales), pooled = features_of(values, scales, features.channels_last);
  check(values[0].scalar_type() == output_type(given[0]), "values have the dtype of the output");
  for (size_t k = 0; k < values.size(); ++k) {
    check(same_size(pooled.levels[k].map, features.levels[k].map), "values have the shapes of the levels");
  }
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  return pool(pooled, features, rois, rule, values[0]);
}

// `sizes` is N, then H and W of each level. The mean needs no features, the maximum needs them to find its samples.
std::vector<Tensor> roi_align_grad_features(const Tensor& grad, const std::vector<Tensor>& given, const Tensor& boxes,
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
  const ConstView grad_view = input_view(dense);
  const bool maximum = rule.pooling == Pooling::kMaximum;
  Features features = maximum ? features_of(given, scales, channels_last) : Features{};
  std::vector<Tensor> results, finished;
  std::vector<View> views;
  int64_t pixels = 0;
  for (size_t k = 0; k < scales.size(); ++k) {
    check_map(sizes[2 * k + 1], sizes[2 * k + 2]);
    results.push_back(new_result(dense, {images, channels, sizes[2 * k + 1], sizes[2 * k + 2]}, channels_last));
    views.push_back(output_view(results.back()));
    pixels += results.back().numel();
    if (maximum) {
      check_features(features.levels[k].map, views[k]);
    } else {
      features.levels.push_back({input_view(results.back()), scales[k]});  // for its sizes
    }
  }
  if (pixels > 0) {
    with_tables(rois, rule, false, job_of(features.levels, rule, channels_last), [&](const RoiJob& job) {
      if (maximum) {
        const int64_t planes = static_cast<int64_t>(scales.size()) * images * channels;
        run(planes, 16 * dense.numel() + pixels, [&](int64_t begin, int64_t end) {
          roi_max_grad_maps(job, rois, rule.level, grad_view, views, begin, end);
        });
        return;
      }
      const RoiUnits work = cut_roi_grad_maps(job, torch::stable::get_num_threads());
      share(static_cast<int64_t>(work.size()), 4 * dense.numel() + pixels,
            [&](Units* units) { kernels().roi_grad_maps(job, grad_view.data, views, work, units); });
    });
  }
  for (const Tensor& result : results) finished.push_back(rounded(result, grad));
  return finished;
}

template <typename T> void write_grad_boxes(const std::vector<double>& sums, T* rows) {
  for (size_t row = 0; row < sums.size() / 4; ++row) {
    rows[5 * row] = T(0);  // an index has no gradient
    for (size_t column = 0; column < 4; ++column) rows[5 * row + 1 + column] = static_cast<T>(sums[4 * row + column]);
  }
}

Tensor roi_align_grad_boxes(const Tensor& grad, const std::vector<Tensor>& given, const Tensor& boxes,
                            const std::vector<double>& scales, int64_t sampling_ratio, bool aligned, int64_t mode,
                            int64_t first_level, double canonical_scale, int64_t canonical_level) {
  check(grad.dim() == 4, "the gradient has four dimensions");
  const Rule rule = rule_of(scales, grad.size(2), grad.size(3), sampling_ratio, aligned, mode, first_level,
                            canonical_scale, canonical_level);
  const Features features = features_of(given, scales);
  check(grad.scalar_type() == output_type(given[0]), "the gradient has the dtype of the output");
  const RoiList rois = roi_list(boxes);
  check_boxes(rois, features.maps[0].size(0));
  const Tensor dense = dense_grad(grad, rule, rois, features.maps[0].size(1), features.channels_last);
  Tensor result = torch::stable::new_empty(boxes, {rois.count, 5});
  std::vector<double> sums(static_cast<size_t>(4 * rois.count), 0.0);
  if (dense.numel() > 0) {
    const ConstView grad_view = input_view(dense);
    with_tables(rois, rule, true, job_of(features.levels, rule, features.channels_last), [&](const RoiJob& job) {
      if (rule.pooling == Pooling::kMaximum) {
        run(rois.count, 16 * dense.numel(), [&](int64_t begin, int64_t end) {
          roi_max_grad_boxes(job, rois, rule.level, grad_view, sums.data(), begin, end);
        });
        return;
      }
      const int64_t blocks = roi_grad_boxes_blocks(job);
      std::vector<double> partial(static_cast<size_t>(blocks) * sums.size(), 0.0);
      const RoiUnits work = cut_roi_grad_boxes(job, torch::stable::get_num_threads());
      share(static_cast<int64_t>(work.size()), 16 * dense.numel(),
            [&](Units* units) { kernels().roi_grad_boxes(job, grad_view.data, partial.data(), work, units); });
      for (size_t i = 0; i < partial.size(); ++i) sums[i % sums.size()] += partial[i];  // block by block
    });
  }
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
