// A call of roi_align on the CPU, with memory for its results: it computes the tables of its boxes, divides the work
// and runs the kernels, on the caller's threads: torch's (cpu/torch_cpu.h), or those of the sanitizers' driver.
//
// Threads have `count()`; `run(n, elements, work)`, which calls work(begin, end) for parts of 0 <= i < n; `prepare`,
// the same for the kernels' input; `share(units, elements, work)`, which calls work(&units) on every thread; and
// `is_fresh(result)`, whether the system has yet to map a result's memory. `elements` is the size of the work.

#pragma once

#include "cpu/isa.h"

namespace roi_align {

// The maps, `levels`, have one layout. The mean's gradient reads only their sizes.
template <typename Threads> struct RoiCall {
  const Threads& threads;
  const RoiList& rois;
  const Rule& rule;
  const std::vector<Level>& levels;
  bool channels_last;

  void pool(const View& crops) const {
    with_tables(false, [&](const RoiJob& job) {
      const RoiUnits work = cut_roi_forward(job, threads.count());
      threads.share(static_cast<int64_t>(work.size()), 4 * elements(crops),
                    [&](Units* units) { kernels().roi_forward(job, crops, work, units); });
    });
  }

  // Pools `values`, maps of the levels' shapes, at the samples that are the largest of the levels.
  void pool_at_largest(const std::vector<ConstView>& values, const View& crops) const {
    with_tables(false, [&](const RoiJob& job) {
      const RoiUnits work = cut_roi_forward(job, threads.count());
      threads.share(static_cast<int64_t>(work.size()), 16 * elements(crops),
                    [&](Units* units) { kernels().roi_at_largest(job, values, crops, work, units); });
    });
  }

  void grad_maps(const ConstView& grad, const std::vector<View>& maps) const {
    int64_t pixels = 0;
    for (const View& map : maps) pixels += elements(map);
    with_tables(false, [&](const RoiJob& job) {
      const auto kernel = maximum() ? kernels().roi_max_grad_maps : kernels().roi_grad_maps;
      const RoiUnits work = cut_roi_grad_maps(job, threads.count());
      threads.share(static_cast<int64_t>(work.size()), (maximum() ? 16 : 4) * elements(grad) + pixels,
                    [&](Units* units) { kernel(job, grad.data, maps, work, units); });
    });
  }

  // The gradient of each box, in the order x1, y1, x2, y2.
  std::vector<double> grad_boxes(const ConstView& grad) const {
    std::vector<double> sums(static_cast<size_t>(4 * rois.count), 0.0);
    with_tables(true, [&](const RoiJob& job) {
      const auto kernel = maximum() ? kernels().roi_max_grad_boxes : kernels().roi_grad_boxes;
      std::vector<double> partial(static_cast<size_t>(roi_grad_boxes_blocks(job)) * sums.size(), 0.0);
      const RoiUnits work = cut_roi_grad_boxes(job, threads.count());
      threads.share(static_cast<int64_t>(work.size()), 16 * elements(grad),
                    [&](Units* units) { kernel(job, grad.data, partial.data(), work, units); });
      for (size_t i = 0; i < partial.size(); ++i) sums[i % sums.size()] += partial[i];  // block by block
    });
    return sums;
  }

 private:
  bool maximum() const { return rule.pooling == Pooling::kMaximum; }

  // Calls work(job) with the tables for the type of the sums.
  template <typename Work> void with_tables(bool slopes, const Work& work) const {
    const ConstView& first = levels[0].map;
    const int64_t channels = first.size[1];
    const bool pixels = channels_last && channels >= kBlockOfPixels;
    const int64_t inner = channels_last && !pixels ? channels : 1;
    RoiJob job = {first.dtype, nullptr,       &rois,    rule.pooling, &levels,
                  rule.pool,   first.size[0], channels, pixels,       inner};
    with_float(job.dtype, [&](auto type) {
      RoiTables<decltype(type)> tables;
      order_boxes(rois, rule.level, levels, job.images, &tables);
      tables.paths = roi_paths(job, tables.buckets);
      job.tables = &tables;
      if (rois.count > 0) maximum() ? fill_samples(slopes, &tables) : fill(slopes, &tables);
      work(job);
    });
  }

  template <typename Acc> void fill(bool slopes, RoiTables<Acc>* tables) const {
    const int64_t bins = rois.count * (rule.pool.height + rule.pool.width);
    threads.prepare(static_cast<int64_t>(tables->chunks.size()), 16 * bins, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        fill_chunk(rois, rule.level, levels, rule.pool, slopes, chunk, tables);
      }
    });
    measure_tables(tables);
  }

  template <typename Acc> void fill_samples(bool has_moves, RoiTables<Acc>* tables) const {
    tables->samples.resize(tables->boxes.size());
    threads.prepare(
        rois.count, 16 * rois.count * (rule.pool.height + rule.pool.width), [&](int64_t begin, int64_t end) {
          for (int64_t k = begin; k < end; ++k) {
            const RoiTable<Acc>& box = tables->boxes[static_cast<size_t>(k)];
            const Level& level = levels[static_cast<size_t>(box.level)];
            tables->samples[static_cast<size_t>(k)].fill(rois, box.row, rule.level, level, rule.pool, has_moves);
          }
        });
  }
};

}  // namespace roi_align
