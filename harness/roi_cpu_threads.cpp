// roi_align's CPU kernels under std::thread: the mean and the maximum, in their three directions, over pyramids.

#include "cpu_threads.h"

#include "cpu/roi_jobs.h"

namespace {

struct Problem {
  int64_t images, channels;
  std::vector<int64_t> sides;  // H and W of each level
  int64_t count;               // of the boxes
  bool last, wide_maps, wide_boxes;
  int64_t margin;  // of the maps
  PoolRule rule;
  LevelRule level;
  std::vector<float> numbers;  // where all values come from
  std::vector<double> rows;
  std::vector<float> narrow_rows;
};

Problem draw(std::mt19937& random) {
  const auto number = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  const int64_t channels[] = {1, 2, 3, 4, 8, 16, 19, 35, 80}, ratios[] = {-1, 1, 2, 3};
  Problem p;
  p.images = number(1, 3);
  p.channels = channels[number(0, 8)];
  const int64_t levels = number(1, 3), height = number(1, 40), width = number(1, 40);
  for (int64_t k = 0; k < levels; ++k) {
    p.sides.push_back(std::max<int64_t>(1, height >> k));
    p.sides.push_back(std::max<int64_t>(1, width >> k));
  }
  p.count = number(1, 60);
  p.last = number(0, 1) && p.channels > 1;
  p.wide_maps = number(0, 3) == 0;
  p.wide_boxes = number(0, 3) == 0;
  p.margin = number(0, 2);
  p.rule = {number(1, 9), number(1, 9), ratios[number(0, 3)], number(0, 1) == 1};
  p.level = {0, levels, 12.0, 1};
  std::normal_distribution<float> normal;
  for (int i = 0; i < 997; ++i) p.numbers.push_back(normal(random));
  std::uniform_real_distribution<double> corner(-5, 40), side(-3, 40);
  for (int64_t k = 0; k < p.count; ++k) {
    const double x = corner(random), y = corner(random);
    for (const double value :
         {static_cast<double>(number(0, p.images - 1)), x, y, x + side(random), y + side(random)}) {
      p.rows.push_back(value);
      p.narrow_rows.push_back(static_cast<float>(value));
    }
  }
  return p;
}

// One call, by as many threads, with all that its kernels are given.
template <typename Acc>
struct Call {
  const Problem& p;
  int64_t threads;
  bool race;
  std::vector<Tensor> maps, grad_maps;
  Tensor crops, upstream;
  std::vector<Level> levels;
  std::vector<View> grad_views;
  RoiList rois;
  RoiTables<Acc> tables;
  RoiJob job;

  Call(const Problem& problem, int64_t on_threads, bool with_race)
      : p(problem),
        threads(on_threads),
        race(with_race),
        crops({p.count, p.channels, p.rule.height, p.rule.width}, p.last, p.wide_maps, p.numbers),
        upstream({p.count, p.channels, p.rule.height, p.rule.width}, p.last, p.wide_maps, p.numbers) {
    for (size_t k = 0; k < p.sides.size() / 2; ++k) {
      const int64_t size[4] = {p.images, p.channels, p.sides[2 * k], p.sides[2 * k + 1]};
      // Few channels that lie innermost are walked in rows, between which alone there may be gaps.
      maps.emplace_back(size, p.last, p.wide_maps, p.numbers, p.margin);
      grad_maps.emplace_back(size, p.last, p.wide_maps, p.numbers);
    }
    for (size_t k = 0; k < maps.size(); ++k) {
      levels.push_back({maps[k].read(), 1.0 / static_cast<double>(1 << k)});
      grad_views.push_back(grad_maps[k].view);
    }
    rois = {p.count, p.wide_boxes ? static_cast<const void*>(p.rows.data()) : p.narrow_rows.data(),
            p.wide_boxes ? DType::kFloat64 : DType::kFloat32, {5, 1}};
    const bool pixels = p.last && p.channels >= kBlockOfPixels;
    job = {p.wide_maps ? DType::kFloat64 : DType::kFloat32, &tables, &levels, p.rule, p.images, p.channels, pixels,
           p.last && !pixels ? p.channels : 1};
  }

  void make_tables(bool slopes) {
    tables = RoiTables<Acc>();
    order_boxes(rois, p.level, levels, p.images, &tables);
    tables.paths = roi_paths(job, tables.buckets);
    in_parts(static_cast<int64_t>(tables.chunks.size()), threads, false, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        fill_chunk(rois, p.level, levels, p.rule, slopes, chunk, &tables);
      }
    });
    measure_tables(&tables);
  }

  static std::string bytes(const View& view) {
    return std::string(static_cast<const char*>(view.data),
                       static_cast<size_t>(count(view.size)) * (view.dtype == DType::kFloat64 ? 8 : 4));
  }
  static std::string bytes(const std::vector<double>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
  }

  std::string all() {
    std::string found;
    make_tables(false);
    const RoiUnits forward = cut_roi_forward(job, threads);
    share(static_cast<int64_t>(forward.size()), threads, race,
          [&](Units* units) { roi_forward(job, crops.view.data, forward, units); });
    found += bytes(crops.view);
    const RoiUnits backward = cut_roi_grad_maps(job, threads);
    share(static_cast<int64_t>(backward.size()), threads, race,
          [&](Units* units) { roi_grad_maps(job, upstream.view.data, grad_views, backward, units); });
    for (const View& view : grad_views) found += bytes(view);
    make_tables(true);
    std::vector<double> partial(static_cast<size_t>(roi_grad_boxes_blocks(job) * p.count * 4), 0.0);
    const RoiUnits boxes = cut_roi_grad_boxes(job, threads);
    share(static_cast<int64_t>(boxes.size()), threads, race,
          [&](Units* units) { roi_grad_boxes(job, upstream.view.data, partial.data(), boxes, units); });
    return found + bytes(partial) + maximum();
  }

  std::string maximum() {
    std::string found;
    std::vector<ConstView> values;
    for (const Level& level : levels) values.push_back(level.map);
    in_parts(p.count, threads, race, [&](int64_t begin, int64_t end) {
      roi_max_forward(job, rois, p.level, values, crops.view, begin, end);
    });
    found += bytes(crops.view);
    const int64_t planes = static_cast<int64_t>(levels.size()) * p.images * p.channels;
    in_parts(planes, threads, race, [&](int64_t begin, int64_t end) {
      roi_max_grad_maps(job, rois, p.level, upstream.read(), grad_views, begin, end);
    });
    for (const View& view : grad_views) found += bytes(view);
    std::vector<double> sums(static_cast<size_t>(4 * p.count), 0.0);
    in_parts(p.count, threads, race, [&](int64_t begin, int64_t end) {
      roi_max_grad_boxes(job, rois, p.level, upstream.read(), sums.data(), begin, end);
    });
    return found + bytes(sums);
  }
};

std::string results(const Problem& p, int64_t threads, bool race) {
  return p.wide_maps ? Call<double>(p, threads, race).all() : Call<float>(p, threads, race).all();
}

}  // namespace

int main(int argc, char** argv) { return compare_threads<Problem>(argc, argv, draw, results, 6); }
