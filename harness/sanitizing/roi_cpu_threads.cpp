// roi_align's CPU kernels under std::thread: the mean or the maximum over a pyramid, in their three directions.

#include "cpu_threads.h"

#include "roi_align/cpu/call.h"

namespace {

struct Problem {
  std::vector<Array> maps;  // (N,C,H,W), of one layout
  std::vector<double> scales;
  Array boxes, upstream;  // (K,5), (K,C,h,w) dense in the layout of the maps
  Rule rule;
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
  const Pooling pooling = static_cast<Pooling>(read_number<int64_t>());
  const double canonical_scale = read_number<double>();
  p.rule = {{p.upstream.size[2], p.upstream.size[3], sampling_ratio, aligned != 0},
            level_rule(0, p.scales.data(), levels, canonical_scale, read_number<int64_t>()),
            pooling};
  return p;
}

// The crops, the gradient of each level, and that of the boxes: (K,4) doubles, x1, y1, x2, y2, before they are rounded
// to the type of the boxes.
std::vector<Array> results(const Problem& p, const StdThreads& threads) {
  std::vector<Level> levels;
  for (size_t k = 0; k < p.maps.size(); ++k) levels.push_back({view_of<ConstView>(p.maps[k]), p.scales[k]});
  const RoiList rois = {p.boxes.size[0], p.boxes.memory.data(), p.boxes.dtype, {p.boxes.stride[0], p.boxes.stride[1]}};
  const bool channels_last = channels_innermost(levels[0].map);
  const RoiCall<StdThreads> call = {threads, rois, p.rule, levels, channels_last};
  const ConstView upstream = view_of<ConstView>(p.upstream);

  std::vector<Array> made = {fresh(upstream.dtype, p.upstream.size, channels_last)};
  if (!made[0].empty()) call.pool(view_of<View>(made[0]));
  for (const Array& map : p.maps) made.push_back(fresh(upstream.dtype, map.size, channels_last));
  std::vector<View> gradients;
  for (size_t k = 1; k < made.size(); ++k) gradients.push_back(view_of<View>(made[k]));
  if (!made[1].empty()) call.grad_maps(upstream, gradients);
  const std::vector<double> sums =
      p.upstream.empty() ? std::vector<double>(static_cast<size_t>(4 * rois.count), 0.0) : call.grad_boxes(upstream);
  Array edges{DType::kFloat64, {rois.count, 4}, {4, 1}, std::vector<unsigned char>(sums.size() * sizeof(double))};
  if (!sums.empty()) std::memcpy(edges.memory.data(), sums.data(), edges.memory.size());
  made.push_back(edges);
  return made;
}

}  // namespace

int main(int argc, char** argv) { return compare_threads<Problem>(argc, argv, read, results); }
