// How roi_align's work is cut into units. Nothing here changes a bit of a result.

#include <algorithm>

#include "roi_jobs.h"

namespace roi_align {
namespace {

// Planes are taken a few at a time, to stay in a second-level cache while all boxes pass over them.
constexpr int64_t kCacheBytes = int64_t{4} << 20;
constexpr int64_t kMostPlanes = 16;
// Channels of a block where they lie innermost: a multiple of what a line of 64 bytes holds.
constexpr int64_t kLine = 16, kMostChannels = 64;
// Boxes differ in size: this many parts for each thread even that out.
constexpr int64_t kPartsPerThread = 4;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t planes_together(const RoiJob& job) {
  int64_t largest = 1;
  for (const Level& level : *job.levels) largest = std::max(largest, level.map.size[2] * level.map.size[3]);
  const int64_t bytes = largest * job.inner * (job.dtype == DType::kFloat64 ? 8 : 4);
  return std::max<int64_t>(1, std::min(kMostPlanes, kCacheBytes / bytes));
}

}  // namespace

RoiCut cut_roi_forward(const RoiJob& job, int64_t threads) {
  const int64_t wanted = kPartsPerThread * threads;
  if (job.path == RoiPath::kPixels) return {job.channels, 1, wanted, wanted};
  const int64_t block = planes_together(job), blocks = divide_up(job.channels / job.inner, block);
  const int64_t parts = blocks >= wanted ? 1 : divide_up(wanted, blocks);
  return {block, blocks, parts, blocks * parts};
}

RoiCut cut_roi_grad_maps(const RoiJob& job, int64_t threads) {
  const int64_t maps = static_cast<int64_t>(job.levels->size()) * job.images;
  const int64_t channels = job.channels / job.inner;
  // The levels of a pyramid are of very different sizes: each thread should have a share of every one.
  int64_t block = std::max<int64_t>(1, divide_up(channels, threads));
  if (job.path == RoiPath::kPixels) {
    block = std::min(kMostChannels, divide_up(block, kLine) * kLine);
  } else {
    block = std::min(block, planes_together(job));
  }
  const int64_t blocks = divide_up(channels, block);
  return {block, blocks, 1, blocks * maps};
}

}  // namespace roi_align
