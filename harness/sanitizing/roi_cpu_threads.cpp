// roi_align's CPU kernels under std::thread: the mean or the maximum over a pyramid, in their three directions, each as
// impl/csrc/roi_align/torch_cpu.cpp calls it.

#include "cpu_threads.h"

#include "cpu/isa.h"

namespace {

struct Problem {
  std::vector<Array> maps;  // (N,C,H,W), of one layout
  std::vector<double> scales;
  Array boxes, upstream;  // (K,5), (K,C,h,w) dense in the layout of the maps
  PoolRule rule;
  Pooling pooling;
  LevelRule level;
};

Problem read() {
  Problem p{};
  const int64_t levels = read_number<int64_t>();
  for (int64_t k = 0; k < levels; ++k) {
    p.maps.push_back(read_array());
    p.scales.push_back(read_number<double>());
  }
  p.boxes = read_array();
  p.upstream = read_array();
  const int64_t sampling_ratio = read_number<int64_t>(), aligned = read_number<int64_t>();
  p.rule = {p.upstream.size[2], p.upstream.size[3], sampling_ratio, aligned != 0};
  p.pooling = static_cast<Pooling>(read_number<int64_t>());
  const double canonical_scale = read_number<double>();
  p.level = {0, levels, canonical_scale, read_number<int64_t>()};
  return p;
}

// One problem, solved by as many threads, with all that its kernels are given.
template <typename Acc> struct Call {
  const Problem& p;
  int64_t threads;
  bool race;
  std::vector<Level> levels;
  std::vector<ConstView> values;
  RoiList rois;
  RoiTables<Acc> tables;
  RoiJob job;

  Call(const Problem& problem, int64_t on_threads, bool with_race) : p(problem), threads(on_threads), race(with_race) {
    for (size_t k = 0; k < p.maps.size(); ++k) {
      values.push_back(view_of<ConstView>(p.maps[k]));
      levels.push_back({values[k], p.scales[k]});
    }
    rois = {p.boxes.size[0], p.boxes.memory.data(), p.boxes.dtype, {p.boxes.stride[0], p.boxes.stride[1]}};
    const int64_t channels = values[0].size[1];
    const bool last = channels_innermost(values[0]), pixels = last && channels >= kBlockOfPixels;
    job = {values[0].dtype,   &tables,  &levels, p.rule,
           values[0].size[0], channels, pixels,  last && !pixels ? channels : 1};
  }

  bool largest() const { return p.pooling == Pooling::kMaximum; }

  void make_tables(bool slopes) {
    tables = RoiTables<Acc>();
    order_boxes(rois, p.level, levels, job.images, &tables);
    tables.paths = roi_paths(job, tables.buckets);
    if (rois.count == 0 || largest()) return;
    in_parts(static_cast<int64_t>(tables.chunks.size()), threads, false, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        fill_chunk(rois, p.level, levels, p.rule, slopes, chunk, &tables);
      }
    });
    measure_tables(&tables);
  }

  Array forward() {
    Array crops = fresh(job.dtype, p.upstream.size, channels_innermost(values[0]));
    if (crops.empty()) return crops;
    make_tables(false);
    if (largest()) {
      const View view = view_of<View>(crops);
      in_parts(rois.count, threads, race,
               [&](int64_t begin, int64_t end) { roi_max_forward(job, rois, p.level, values, view, begin, end); });
      return crops;
    }
    const RoiUnits work = cut_roi_forward(job, threads);
    share(static_cast<int64_t>(work.size()), threads, race,
          [&](Units* units) { kernels().roi_forward(job, crops.memory.data(), work, units); });
    return crops;
  }

  std::vector<Array> grad_maps() {
    std::vector<Array> gradients;
    std::vector<View> views;
    for (const Array& map : p.maps) gradients.push_back(fresh(job.dtype, map.size, channels_innermost(values[0])));
    for (Array& gradient : gradients) views.push_back(view_of<View>(gradient));
    if (gradients[0].empty()) return gradients;
    make_tables(false);
    if (largest()) {
      const int64_t planes = static_cast<int64_t>(levels.size()) * job.images * job.channels;
      const ConstView upstream = view_of<ConstView>(p.upstream);
      in_parts(planes, threads, race,
               [&](int64_t begin, int64_t end) { roi_max_grad_maps(job, rois, p.level, upstream, views, begin, end); });
      return gradients;
    }
    const RoiUnits work = cut_roi_grad_maps(job, threads);
    share(static_cast<int64_t>(work.size()), threads, race,
          [&](Units* units) { kernels().roi_grad_maps(job, p.upstream.memory.data(), views, work, units); });
    return gradients;
  }

  // (K,4) doubles, x1, y1, x2, y2, before they are rounded to the type of the boxes.
  Array grad_boxes() {
    std::vector<double> sums(static_cast<size_t>(4 * rois.count), 0.0);
    if (!p.upstream.empty()) add_grad_boxes(&sums);
    Array edges{DType::kFloat64, {rois.count, 4}, {4, 1}, std::vector<unsigned char>(sums.size() * sizeof(double))};
    if (!sums.empty()) std::memcpy(edges.memory.data(), sums.data(), edges.memory.size());
    return edges;
  }

  void add_grad_boxes(std::vector<double>* sums) {
    make_tables(true);
    if (largest()) {
      const ConstView upstream = view_of<ConstView>(p.upstream);
      in_parts(rois.count, threads, race, [&](int64_t begin, int64_t end) {
        roi_max_grad_boxes(job, rois, p.level, upstream, sums->data(), begin, end);
      });
      return;
    }
    std::vector<double> partial(static_cast<size_t>(roi_grad_boxes_blocks(job)) * sums->size(), 0.0);
    const RoiUnits work = cut_roi_grad_boxes(job, threads);
    share(static_cast<int64_t>(work.size()), threads, race,
          [&](Units* units) { kernels().roi_grad_boxes(job, p.upstream.memory.data(), partial.data(), work, units); });
    for (size_t i = 0; i < partial.size(); ++i) (*sums)[i % sums->size()] += partial[i];  // block by block
  }

  // The crops, the gradient of each level, and that of the boxes.
  std::vector<Array> all() {
    std::vector<Array> found = {forward()};
    const std::vector<Array> gradients = grad_maps();
    found.insert(found.end(), gradients.begin(), gradients.end());
    found.push_back(grad_boxes());
    return found;
  }
};

std::vector<Array> results(const Problem& p, int64_t threads, bool race) {
  return p.maps[0].dtype == DType::kFloat64 ? Call<double>(p, threads, race).all()
                                            : Call<float>(p, threads, race).all();
}

}  // namespace

int main(int argc, char** argv) { return compare_threads<Problem>(argc, argv, read, results); }
