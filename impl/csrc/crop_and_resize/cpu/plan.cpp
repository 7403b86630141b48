// The division of work: the path of an image, and its units. Nothing here reads a pixel.
//
// The path depends on the shapes only, never on the number of threads: sums may have another order on another path.

#include <algorithm>

#include "cpu/cut.h"
#include "cpu/isa.h"

namespace roi_align {
namespace {

// The sums of a unit of the image gradient should stay in the second-level cache. Half of this size divides boxes into
// more pieces and was slower.
constexpr int64_t kSumsBytes = int64_t{1} << 20;
// Planes that are read or written in place are processed a few at a time, to stay in a second-level cache.
constexpr int64_t kDirectBlock = 8;
constexpr int64_t kDirectBytes = int64_t{1} << 20;
// The channels of a short vector: images of up to as many channels use it.
constexpr int64_t kCellChannels = 4;

template <typename Image, typename Crops> bool many_samples(const Image& image, const Crops& crops) {
  return worth_turning(crops.size[0] * crops.size[2] * crops.size[3], image.size[0] * image.size[2] * image.size[3]);
}

// Below eight channels most lanes of a turned block would be empty.
template <typename Image, typename Crops> Path path_of(const Image& image, const Crops& crops) {
  if (channels_innermost(image)) return Path::kChannels;
  const bool fits = image.size[2] * image.size[3] * kBlock * element_bytes(image.dtype) <= kLargestBlockBytes;
  return many_samples(image, crops) && fits && image.size[1] >= kBlock / 2 ? Path::kTurned : Path::kDirect;
}

Plan cut(Path path, int64_t outer, int64_t channels, int64_t block, int64_t parts, int64_t order_bands) {
  const int64_t blocks = divide_up(channels, block);
  return {path, block, blocks, parts, outer * blocks * parts, order_bands};
}

// Every unit of a block turns the whole block, so there are no more parts than threads.
Plan cut_turned(int64_t images, int64_t channels, int64_t threads, int64_t bands) {
  const int64_t blocks = images * divide_up(channels, kBlock);
  return cut(Path::kTurned, images, channels, kBlock, blocks < threads ? divide_up(threads, blocks) : 1, bands);
}

// The number of parts of each of `wholes` so that there are several units per thread, but no more than `most`.
int64_t parts_for(int64_t wholes, int64_t threads, int64_t most) {
  return std::max<int64_t>(1, std::min(most, divide_up(threads * kUnitsAThread, std::max<int64_t>(1, wholes))));
}

// The bands of rows by which boxes are ordered: no more than boxes per image.
int64_t bands_for(int64_t boxes, int64_t images, int64_t height) {
  return std::max<int64_t>(1, std::min(height, boxes / images));
}

}  // namespace

Plan plan_forward(const ConstView& image, const View& crops, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1], boxes = crops.size[0];
  const int64_t bands = bands_for(boxes, images, image.size[2]);
  const Path path = path_of(image, crops);
  if (path == Path::kTurned) return cut_turned(images, channels, threads, bands);
  // Channels are divided only if there are too few boxes for the threads.
  const int64_t block = path == Path::kDirect ? kDirectBlock : boxes >= 2 * threads ? channels : 4 * kBlock;
  return cut(path, 1, channels, block, parts_for(divide_up(channels, block), threads, boxes), bands);
}

Plan plan_grad_image(const ConstView& grad_crops, const View& image, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1], height = image.size[2], width = image.size[3];
  const bool few = channels <= kCellChannels && many_samples(image, grad_crops);
  const Path path = few ? Path::kCells : path_of(image, grad_crops);
  const int64_t blocks = divide_up(channels, kBlock);
  int64_t block = channels, row_bytes = width * channels * element_bytes(image.dtype);
  if (path == Path::kDirect) {
    const int64_t plane_bytes = height * width * element_bytes(image.dtype);
    block = std::min(std::max<int64_t>(1, kDirectBytes / plane_bytes), divide_up(channels, threads));
    return cut(path, images, channels, block, parts_for(images * divide_up(channels, block), 1, height), 1);
  }
  if (path == Path::kCells) {
    row_bytes = (width + 1) * kCellChannels * element_bytes(image.dtype);
  } else {
    const int64_t block_bytes = width * kBlock * element_bytes(image.dtype);
    // Planes: whole maps of as many blocks as fit, because a divided box is turned twice. Pixels: whole rows of all
    // channels, because pieces of the upstream gradient cost more than one run of it.
    int64_t together = kSumsBytes / (path == Path::kTurned ? height * block_bytes : 2 * block_bytes);
    if (path == Path::kTurned) together = std::min(together, images * blocks / (threads * kUnitsAThread));
    together = std::max<int64_t>(1, std::min(blocks, together));
    block = divide_up(blocks, divide_up(blocks, together)) * kBlock;
    row_bytes = block_bytes * (block / kBlock);
  }
  const int64_t bands = divide_up(height, std::max<int64_t>(1, kSumsBytes / row_bytes));
  const int64_t parts = parts_for(images * divide_up(channels, block), threads, height);
  return cut(path, images, channels, block, std::max(bands, std::min(parts, 2 * bands)), 1);
}

Plan plan_grad_boxes(const ConstView& grad_crops, const ConstView& image, int64_t threads) {
  const int64_t images = image.size[0], channels = image.size[1], boxes = grad_crops.size[0];
  const int64_t bands = bands_for(boxes, images, image.size[2]);
  const Path path = path_of(image, grad_crops);
  if (path == Path::kTurned) return cut_turned(images, channels, threads, bands);
  return cut(path, 1, channels, channels, parts_for(1, threads, boxes), bands);
}

}  // namespace roi_align
