// How work is cut: which path an image takes, and into which units. Nothing here touches a pixel.
//
// The path depends on the shapes alone, never on the number of threads: sums may have another order on another path.

#include <algorithm>

#include "isa.h"

namespace roi_align {
namespace {

// A turned block of planes should stay in the last-level cache while the boxes pass over it.
constexpr int64_t kLargestBlockBytes = int64_t{32} << 20;
// Blocks of planes are taken together while they stay in the second-level cache: the taps of a box then serve all of
// them, and what is read or written of its crop is one longer run.
constexpr int64_t kGroupBytes = int64_t{2} << 20;
// Planes that are read or written where they lie are taken a few at a time, to stay in a second-level cache.
constexpr int64_t kDirectBlock = 8;
constexpr int64_t kDirectBytes = int64_t{1} << 20;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t element_bytes(DType dtype) { return dtype == DType::kFloat64 ? 8 : 4; }

// Turning a pixel costs about a quarter of what reading a sample from scattered planes costs more than from a turned
// block; below eight channels most lanes would be empty.
template <typename Image, typename Crops>
Path path_of(const Image& image, const Crops& crops) {
  if (channels_innermost(image)) return Path::kChannels;
  const int64_t pixels = image.size[2] * image.size[3];
  const int64_t samples = crops.size[0] * crops.size[2] * crops.size[3];
  const bool worth_it = 4 * samples >= image.size[0] * pixels;
  const bool fits = pixels * kBlock * element_bytes(image.dtype) <= kLargestBlockBytes;
  return worth_it && fits && image.size[1] >= kBlock / 2 ? Path::kTurned : Path::kDirect;
}

Plan cut(Path path, int64_t outer, int64_t channels, int64_t block, int64_t parts) {
  const int64_t blocks = divide_up(channels, block);
  return {path, block, blocks, parts, outer * blocks * parts};
}

// Channels of a group of blocks, of which there are enough for every thread to have one.
int64_t group_of(int64_t images, int64_t channels, int64_t plane_bytes, int64_t threads) {
  const int64_t blocks = divide_up(channels, kBlock);
  const int64_t fit = std::max<int64_t>(1, kGroupBytes / (plane_bytes * kBlock));
  const int64_t wanted = std::min(blocks, divide_up(threads, std::max<int64_t>(images, 1)));
  return std::min(fit, blocks / wanted) * kBlock;
}

// Parts of the boxes of each block, so that a thread does not idle for want of blocks.
int64_t parts_for(int64_t blocks, int64_t threads) {
  return blocks == 0 || blocks >= threads ? 1 : divide_up(threads, blocks);
}

}  // namespace

Plan plan_forward(const ConstView& image, const BoxList& boxes, const View& crops, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1];
  const Path path = path_of(image, crops);
  switch (path) {
    case Path::kChannels:
      return cut(path, boxes.count, channels, 64, 1);
    case Path::kTurned:
      return cut(path, images, channels, kBlock, parts_for(images * divide_up(channels, kBlock), threads));
    default:
      return cut(path, boxes.count, channels, kDirectBlock, 1);
  }
}

Plan plan_grad_image(const ConstView& grad_crops, const View& image, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1], height = image.size[2];
  const int64_t plane_bytes = height * image.size[3] * element_bytes(image.dtype);
  const Path path = path_of(image, grad_crops);
  int64_t block = kBlock;
  if (path == Path::kChannels) {
    // All channels of a pixel, as they arrive: half of them would be every other piece of the upstream gradient, which
    // memory hands out in one run. They are cut only where images and rows alone are too few for the threads.
    const int64_t lines = divide_up(channels, kBlock);
    block = divide_up(lines, std::min(lines, divide_up(threads, std::max<int64_t>(images * height, 1)))) * kBlock;
  } else if (path == Path::kTurned) {
    block = group_of(images, channels, plane_bytes, threads);
  } else {
    block = std::min(std::max<int64_t>(1, kDirectBytes / plane_bytes), divide_up(channels, threads));
  }
  // Rows are cut only when images and channels alone do not give every thread something to do.
  const int64_t bands = std::min(height, parts_for(images * divide_up(channels, block), threads));
  return cut(path, images, channels, block, bands);
}

Plan plan_grad_boxes(const ConstView& grad_crops, const ConstView& image, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1];
  const Path path = path_of(image, grad_crops);
  if (path == Path::kTurned) {
    return cut(path, images, channels, kBlock, parts_for(images * divide_up(channels, kBlock), threads));
  }
  return cut(path, grad_crops.size[0], channels, channels, 1);
}

}  // namespace roi_align
