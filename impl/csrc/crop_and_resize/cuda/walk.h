// The mapping of threads to samples and channels, and a thread's data about its sample.
//
// A thread takes one sample and walks over channels: the sample's position is computed once, in registers, and costs
// little compared with the channels. Layouts differ only in the work of neighbouring threads. In planes (NCHW) they
// take neighbouring samples of one channel, and crops are written in runs; with channels innermost they take
// neighbouring channels of one sample, and every access is a run of 16 bytes per thread.

#pragma once

#include "crop_and_resize/boxes.h"
#include "cuda/vector.h"

namespace roi_align::cuda {

// Channels (or vectors of them) that a thread walks over at most before another block takes the rest.
constexpr int kSteps = 16;

struct Walk {
  int64_t samples;       // of all boxes: M * h * w
  int64_t channels;      // of the image
  int64_t channel_tile;  // that a block walks over
  int64_t channel_tiles;
  int64_t units;       // of work, one block each
  int slots;           // samples that a block takes, slots * groups threads
  int groups;          // threads that share a sample
  bool channels_fast;  // neighbouring threads take neighbouring channels, not samples
};

inline Walk plan_walk(int64_t samples, int64_t channels, int vector, bool channels_fast) {
  int groups = 1;
  if (channels_fast) {
    // Eight threads cover a line of 128 bytes. A quarter of the vectors, so that a thread uses its sample for four.
    const int64_t vectors = divide_up(channels, vector);
    groups = vectors >= 128 ? 32 : vectors >= 64 ? 16 : vectors >= 8 ? 8 : vectors >= 4 ? 4 : vectors >= 2 ? 2 : 1;
  }
  const int slots = kThreads / groups;
  const int64_t tile = int64_t{kSteps} * groups * vector;
  const int64_t tiles = divide_up(channels, tile);
  return {samples, channels, tile, tiles, divide_up(samples, slots) * tiles, slots, groups, channels_fast};
}

// A thread's work in a unit: a sample, numbered over all boxes, and the channels first, first + step, ... below end.
struct Task {
  int64_t sample;
  int64_t first;
  int64_t end;
  int64_t step;
};

template <int vector> __device__ __forceinline__ Task task_of(const Walk& walk, int64_t unit) {
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = walk.channels_fast ? thread / walk.groups : thread % walk.slots;
  const int group = walk.channels_fast ? thread % walk.groups : thread / walk.slots;
  const int64_t tile_of_samples = divide(unit, walk.channel_tiles);
  const int64_t begin = (unit - tile_of_samples * walk.channel_tiles) * walk.channel_tile;
  const int64_t end = begin + walk.channel_tile;
  return {tile_of_samples * walk.slots + slot, begin + int64_t{group} * vector,
          end < walk.channels ? end : walk.channels, int64_t{walk.groups} * vector};
}

// A sample, and the pixels around it as offsets into a plane of the image.
template <typename Acc> struct Site {
  int64_t row, y, x;  // of the crops
  int64_t image;      // -1 if the box's index is out of range
  bool inside;
  int64_t top_left, top_right, bottom_left, bottom_right;
  Acc lx, ly;
};

// The tap of sample i on an axis; false if it is outside.
template <typename Acc, typename T>
__device__ __forceinline__ bool find_tap(const Axis<T>& axis, int64_t i, Method method, int64_t length, Tap<Acc>& tap) {
  const T position = axis.position(i);
  if (!inside(position, length)) return false;
  tap = make_tap<Acc>(method, position, length);
  return true;
}

template <typename Acc>
__device__ __forceinline__ bool tap_of(const BoxList& boxes, int64_t row, bool is_y, int64_t i, Method method,
                                       int64_t length, int64_t crop, Tap<Acc>& tap) {
  return boxes.edge_dtype == DType::kFloat64
             ? find_tap(box_axis<double>(boxes, row, is_y, length, crop), i, method, length, tap)
             : find_tap(box_axis<float>(boxes, row, is_y, length, crop), i, method, length, tap);
}

// The site of sample (y, x) of a box; of `image` and `crops` only the sizes and the image's strides are read.
template <typename Acc, typename Image, typename Crops>
__device__ __forceinline__ Site<Acc> site_at(const Image& image, const BoxList& boxes, Method method,
                                             const Crops& crops, int64_t row, int64_t y, int64_t x) {
  Site<Acc> site = {row, y, x, image_index(boxes, row), false, 0, 0, 0, 0, Acc(0), Acc(0)};
  if (site.image < 0 || site.image >= image.size[0]) {
    site.image = -1;
    return site;
  }
  Tap<Acc> ty, tx;
  site.inside = tap_of(boxes, row, true, y, method, image.size[2], crops.size[2], ty) &&
                tap_of(boxes, row, false, x, method, image.size[3], crops.size[3], tx);
  if (!site.inside) return site;
  const int64_t top = ty.low * image.stride[2], bottom = ty.high * image.stride[2];
  const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
  site.top_left = top + left;
  site.top_right = top + right;
  site.bottom_left = bottom + left;
  site.bottom_right = bottom + right;
  site.lx = tx.weight;
  site.ly = ty.weight;
  return site;
}

// The site of a sample that is numbered over all boxes.
template <typename Acc, typename Image, typename Crops>
__device__ __forceinline__ Site<Acc> site_of(const Image& image, const BoxList& boxes, Method method,
                                             const Crops& crops, int64_t sample) {
  const int64_t rows_of_samples = divide(sample, crops.size[3]);
  const int64_t row = divide(rows_of_samples, crops.size[2]);
  return site_at<Acc>(image, boxes, method, crops, row, rows_of_samples - row * crops.size[2],
                      sample - rows_of_samples * crops.size[3]);
}

// The first channel of a crop at a site.
template <typename T, typename Acc, typename Crops>
__device__ __forceinline__ T* crop_at(const Crops& crops, const Site<Acc>& site) {
  return static_cast<T*>(crops.data) + site.row * crops.stride[0] + site.y * crops.stride[2] + site.x * crops.stride[3];
}

}  // namespace roi_align::cuda
