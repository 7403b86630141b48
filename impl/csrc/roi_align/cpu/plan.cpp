// The division of roi_align's work into units, and the path of each map. Nothing here changes a bit of a result.

#include <algorithm>

#include "cpu/cut.h"
#include "cpu/isa.h"

namespace roi_align {
namespace {

// Planes are processed a few at a time, so that they stay in a second-level cache while all boxes read them.
constexpr int64_t kCacheBytes = int64_t{4} << 20;
constexpr int64_t kMostPlanes = 16;

int64_t maps_of(const RoiJob& job) { return static_cast<int64_t>(job.levels->size()) * job.images; }

int64_t pixels_of(const RoiJob& job, int64_t map) {
  const ConstView& view = (*job.levels)[static_cast<size_t>(map / job.images)].map;
  return view.size[2] * view.size[3];
}

// The buckets and paths of the tables, of either type.
struct Maps {
  const std::vector<int64_t>& buckets;
  const std::vector<RoiPath>& paths;
};

Maps maps_in(const RoiJob& job) {
  return with_float(job.dtype, [&](auto type) -> Maps {
    const auto& tables = *static_cast<const RoiTables<decltype(type)>*>(job.tables);
    return {tables.buckets, tables.paths};
  });
}

// Planes of a map that a unit takes together on kRows: as many as a cache holds, or the lanes of the maximum, which
// reads copies of what a box needs.
int64_t planes_together(const RoiJob& job, int64_t map) {
  if (job.pooling == Pooling::kMaximum) return kBlock;
  const int64_t bytes = pixels_of(job, map) * job.inner * element_bytes(job.dtype);
  return std::max<int64_t>(1, std::min(kMostPlanes, kCacheBytes / bytes));
}

// The units of a map: its blocks of channels, each with its boxes in `parts` parts.
void cut_map(const Maps& maps, int64_t map, int64_t channels, int64_t block, int64_t parts, RoiUnits* work) {
  const int64_t begin = maps.buckets[static_cast<size_t>(map)], end = maps.buckets[static_cast<size_t>(map + 1)];
  for (int64_t first = 0; first < channels; first += block) {
    for (int64_t part = 0; part < parts; ++part) {
      const Part boxes = part_of(begin, end, part, parts);
      work->push_back({map, first, std::min(block, channels - first), boxes.begin, boxes.end});
    }
  }
}

// Units that own boxes: about `target` of them for all boxes of a call. Every part of a turned block turns the block,
// so a block has no more parts than there are threads.
RoiUnits cut_boxes(const RoiJob& job, int64_t threads, bool all_channels) {
  const Maps maps = maps_in(job);
  const int64_t boxes = std::max<int64_t>(1, maps.buckets.back()), target = kUnitsAThread * threads;
  RoiUnits work;
  for (int64_t map = 0; map < maps_of(job); ++map) {
    const int64_t count = maps.buckets[static_cast<size_t>(map + 1)] - maps.buckets[static_cast<size_t>(map)];
    if (count == 0) continue;
    const RoiPath path = maps.paths[static_cast<size_t>(map)];
    const int64_t channels = all_channels ? job.channels : job.channels / job.inner;
    const bool turned = path == RoiPath::kTurned;
    const int64_t block = turned                                     ? kBlock
                          : path == RoiPath::kPixels || all_channels ? channels
                                                                     : planes_together(job, map);
    const int64_t share = turned ? threads : divide_up(target * count, boxes);
    cut_map(maps, map, channels, block, std::max<int64_t>(1, std::min(count, share / divide_up(channels, block))),
            &work);
  }
  return work;
}

}  // namespace

std::vector<RoiPath> roi_paths(const RoiJob& job, const std::vector<int64_t>& buckets) {
  std::vector<RoiPath> paths;
  for (int64_t map = 0; map < maps_of(job); ++map) {
    const int64_t boxes = buckets[static_cast<size_t>(map + 1)] - buckets[static_cast<size_t>(map)];
    const int64_t pixels = pixels_of(job, map);
    // Below half a block of channels most of its lanes would be empty; for the maximum a turn is faster even so, but
    // for very few channels.
    const bool many = worth_turning(boxes * job.rule.height * job.rule.width, pixels);
    const bool turned = many && pixels * kBlock * element_bytes(job.dtype) <= kLargestBlockBytes && job.inner == 1 &&
                        job.channels >= (job.pooling == Pooling::kMaximum ? kFewChannels + 1 : kBlock / 2);
    paths.push_back(job.pixels ? RoiPath::kPixels : turned ? RoiPath::kTurned : RoiPath::kRows);
  }
  return paths;
}

RoiUnits cut_roi_forward(const RoiJob& job, int64_t threads) { return cut_boxes(job, threads, false); }

RoiUnits cut_roi_grad_boxes(const RoiJob& job, int64_t threads) { return cut_boxes(job, threads, true); }

int64_t roi_grad_boxes_blocks(const RoiJob& job) { return divide_up(job.channels, kBlock); }

RoiUnits cut_roi_grad_maps(const RoiJob& job, int64_t threads) {
  const Maps maps = maps_in(job);
  const int64_t channels = job.channels / job.inner;
  const bool maximum = job.pooling == Pooling::kMaximum;
  RoiUnits work;
  for (int64_t map = 0; map < maps_of(job); ++map) {
    const RoiPath path = maps.paths[static_cast<size_t>(map)];
    // The levels of a pyramid have very different sizes, so each thread should have a share of every level.
    int64_t block = divide_up(channels, threads);
    if (path == RoiPath::kRows) block = maximum ? kBlock : std::min(block, planes_together(job, map));
    if (path == RoiPath::kTurned) block = kBlock;
    // Whole lines of pixels, as many as the cache has room for: pieces of the upstream gradient cost more than runs.
    const int64_t pixel_bytes = pixels_of(job, map) * element_bytes(job.dtype);
    if (path == RoiPath::kPixels)
      block = std::max<int64_t>(1, std::min(block, kCacheBytes / pixel_bytes) / kBlock) * kBlock;
    cut_map(maps, map, channels, block, 1, &work);
  }
  return work;
}

}  // namespace roi_align
