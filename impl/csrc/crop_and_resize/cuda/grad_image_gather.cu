// The gradient of the image on CUDA in a fixed order: each tile of it gathers what the boxes send there.
//
// A block owns a few tiles of 32 channels, held in shared memory, a warp a tile and a lane a channel. It lists the
// boxes that reach its tiles, in their order; every warp then goes through them, sample by sample, row by row, and adds
// to its four pixels in the CPU's order. So each pixel's sum is taken in the order box, y, x, top-left, top-right,
// bottom-left, bottom-right, whatever the cut, and has the CPU's bits. The gradient is written once, zeros included;
// there are no atomics, and no memory is needed beside it but where each box reaches.

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/cuda/reach.h"
#include "cuda/list.h"
#include "cuda/stage.h"

namespace roi_align::cuda {
namespace {

// Boxes that each thread looks at before the block goes through those that were found.
constexpr int kLooks = 4;
constexpr int kListed = kLooks * kGatherThreads;
// A tile has as many rows as fit, and as many samples of a row are brought in at once: half where sums are doubles.
template <typename Acc> constexpr int kTileHeight = sizeof(Acc) == 8 ? 4 : 8;
template <typename Acc> constexpr int kStaged = sizeof(Acc) == 8 ? 8 : 16;

// How a block's warps are laid over tiles and channels: as many as there are channels for, the rest side by side. A
// gradient that fits any memory has fewer than 2^32 tiles.
struct Cut {
  uint32_t tiles_high, tiles_wide;  // in blocks' worth of tiles
  uint32_t channel_parts;
  uint32_t units;
  int channel_warps;  // 1, 2 or 4
};

Cut plan_cut(const View& image, int tile_height) {
  const int64_t channels = image.size[1];
  const int channel_warps = channels > 2 * kWarp ? 4 : channels > kWarp ? 2 : 1;
  const auto high = static_cast<uint32_t>(divide_up(image.size[2], tile_height));
  const auto wide = static_cast<uint32_t>(divide_up(image.size[3], kTileWidth * (kWarps / channel_warps)));
  const auto parts = static_cast<uint32_t>(divide_up(channels, channel_warps * kWarp));
  return {high, wide, parts, static_cast<uint32_t>(image.size[0]) * high * wide * parts, channel_warps};
}

// What a block keeps in shared memory.
template <typename Acc> struct Shared {
  Acc sums[kWarps][kTileHeight<Acc> * kTileWidth][kPitch];
  Acc staged[kWarps][kStaged<Acc>][kPitch];
  int32_t listed[kListed];
  int32_t found[kLooks * kWarps];
};

// A tap as seen from a tile: its two pixels counted from the tile's first, -1 if they are not in it.
template <typename Acc> struct TileTap {
  int low, high;
  Acc weight;
};

// The tap of sample i, if it is one of the crop's, and whether it touches the tile's `size` pixels from `begin` on.
template <typename Acc>
__device__ __forceinline__ bool tile_tap(const Axis<double>& axis, bool wide, int64_t i, int64_t crop, Method method,
                                         int64_t length, int64_t begin, int size, TileTap<Acc>& found) {
  Tap<Acc> tap;
  if (i >= crop || !tap_on(axis, wide, i, method, length, tap)) return false;
  const int64_t low = tap.low - begin, high = tap.high - begin;
  found = {low >= 0 && low < size ? static_cast<int>(low) : -1, high >= 0 && high < size ? static_cast<int>(high) : -1,
           tap.weight};
  return found.low >= 0 || found.high >= 0;
}

template <typename Acc> __device__ __forceinline__ TileTap<Acc> from_lane(const TileTap<Acc>& tap, int lane) {
  return {__shfl_sync(kAllLanes, tap.low, lane), __shfl_sync(kAllLanes, tap.high, lane),
          __shfl_sync(kAllLanes, tap.weight, lane)};
}

// Adds one sample's upstream g to the pixels of a tile, for the lane's channel.
template <typename Acc>
__device__ __forceinline__ void scatter(Acc (*sums)[kPitch], int lane, Method method, const TileTap<Acc>& y,
                                        const TileTap<Acc>& x, Acc g) {
  if (method == Method::kNearest) {
    sums[y.low * kTileWidth + x.low][lane] += g;
    return;
  }
  const Acc top = (Acc(1) - y.weight) * g, bottom = y.weight * g;
  const Acc top_left = (Acc(1) - x.weight) * top, top_right = x.weight * top;
  const Acc bottom_left = (Acc(1) - x.weight) * bottom, bottom_right = x.weight * bottom;
  if (y.low >= 0) {
    if (x.low >= 0) sums[y.low * kTileWidth + x.low][lane] += top_left;
    if (x.high >= 0) sums[y.low * kTileWidth + x.high][lane] += top_right;
  }
  if (y.high >= 0) {
    if (x.low >= 0) sums[y.high * kTileWidth + x.low][lane] += bottom_left;
    if (x.high >= 0) sums[y.high * kTileWidth + x.high][lane] += bottom_right;
  }
}

// Where a warp works: its tile, its channels and its part of shared memory.
template <typename Acc> struct Work {
  int64_t top, left;  // of the tile, in pixels
  int64_t first_channel;
  int channels;  // at most one for each lane
  int lane;
  Acc (*sums)[kPitch];
  Acc (*staged)[kPitch];
};

// Adds all that one box sends to a warp's tile. `crop` is the warp's first channel of it.
template <typename T>
__device__ __forceinline__ void gather_box(const ConstView& grad_crops, const T* crop, const Axes& axes, bool wide,
                                           Method method, const View& image, const Work<Accumulate<T>>& work) {
  using Acc = Accumulate<T>;
  const int64_t crop_height = grad_crops.size[2], crop_width = grad_crops.size[3];
  const int lane = work.lane;
  // Samples run from one end of a box to the other, so those that touch a tile are neighbours.
  TileTap<Acc> tap_x = {-1, -1, Acc(0)};
  unsigned columns = 0;
  int64_t looked_at = -1;
  for (int64_t first_y = 0; first_y < crop_height; first_y += kWarp) {
    TileTap<Acc> tap_y = {-1, -1, Acc(0)};
    unsigned rows = __ballot_sync(kAllLanes, tile_tap(axes.y, wide, first_y + lane, crop_height, method, image.size[2],
                                                      work.top, kTileHeight<Acc>, tap_y));
    for (; rows != 0; rows &= rows - 1) {
      const int lane_y = __ffs(static_cast<int>(rows)) - 1;
      const TileTap<Acc> y = from_lane(tap_y, lane_y);
      const T* const crop_row = crop + (first_y + lane_y) * grad_crops.stride[2];
      for (int64_t first_x = 0; first_x < crop_width; first_x += kWarp) {
        if (looked_at != first_x) {  // once for a box, unless its crop is wider than a warp
          looked_at = first_x;
          columns = __ballot_sync(kAllLanes, tile_tap(axes.x, wide, first_x + lane, crop_width, method, image.size[3],
                                                      work.left, kTileWidth, tap_x));
        }
        if (columns == 0) continue;
        const int end = kWarp - __clz(static_cast<int>(columns));
        for (int begin = __ffs(static_cast<int>(columns)) - 1; begin < end; begin += kStaged<Acc>) {
          const int count = end - begin < kStaged<Acc> ? end - begin : kStaged<Acc>;
          stage(crop_row + (first_x + begin) * grad_crops.stride[3], grad_crops, count, work.channels, lane,
                work.staged);
          for (int sample = 0; sample < count; ++sample) {
            const TileTap<Acc> x = from_lane(tap_x, begin + sample);
            scatter(work.sums, lane, method, y, x, work.staged[sample][lane]);
          }
        }
      }
    }
  }
}

// Writes a warp's tile. In planes, neighbouring lanes take neighbouring pixels; else neighbouring channels.
template <typename T>
__device__ __forceinline__ void write_tile(const View& image, int64_t n, const Work<Accumulate<T>>& work) {
  constexpr int pixels = kTileHeight<Accumulate<T>> * kTileWidth;
  T* const base = static_cast<T*>(image.data) + n * image.stride[0] + work.first_channel * image.stride[1];
  const bool channels_fast = image.stride[1] == 1;
  __syncwarp();  // in planes a lane writes what other lanes summed
  for (int step = 0; step < (channels_fast ? pixels : pixels / kWarp * work.channels); ++step) {
    // A step is a pixel of all channels, or 32 pixels of one channel.
    const int pixel = channels_fast ? step : step % (pixels / kWarp) * kWarp + work.lane;
    const int channel = channels_fast ? work.lane : step / (pixels / kWarp);
    const int64_t y = work.top + pixel / kTileWidth, x = work.left + pixel % kTileWidth;
    if (channel < work.channels && y < image.size[2] && x < image.size[3]) {
      base[channel * image.stride[1] + y * image.stride[2] + x * image.stride[3]] =
          narrow<T>(work.sums[pixel][channel]);
    }
  }
  __syncwarp();
}

// Five blocks are as many as shared memory has room for anywhere: registers need not be saved for a sixth.
template <typename T>
__global__ void __launch_bounds__(kGatherThreads, 5)
    gather_kernel(ConstView grad_crops, Method method, View image, int64_t boxes, Scratch scratch, Cut cut) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared<Acc>& shared = *reinterpret_cast<Shared<Acc>*>(shared_memory);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int tile_warps = kWarps / cut.channel_warps;
  for (uint32_t unit = blockIdx.x; unit < cut.units; unit += gridDim.x) {
    const uint32_t tile = unit / cut.channel_parts, part = unit % cut.channel_parts;
    const int64_t n = tile / cut.tiles_wide / cut.tiles_high, row = tile / cut.tiles_wide % cut.tiles_high;
    const int64_t left = int64_t{tile % cut.tiles_wide} * tile_warps;
    const int64_t first_channel = (int64_t{part} * cut.channel_warps + warp % cut.channel_warps) * kWarp;
    const int64_t channels = image.size[1] - first_channel;
    const Work<Acc> work = {row * kTileHeight<Acc>,
                            (left + warp / cut.channel_warps) * kTileWidth,
                            first_channel,
                            static_cast<int>(channels < kWarp ? channels : kWarp),
                            lane,
                            shared.sums[warp],
                            shared.staged[warp]};
    const bool mine = work.left < image.size[3] && channels > 0;
    const T* const crops = static_cast<const T*>(grad_crops.data) + first_channel * grad_crops.stride[1];
    for (int pixel = 0; pixel < kTileHeight<Acc> * kTileWidth; ++pixel) work.sums[pixel][lane] = Acc(0);
    for (int64_t begin = 0; begin < boxes; begin += kListed) {
      const int total =
          list_in_order<kLooks, kWarps>(shared.listed, shared.found, kGatherThreads, begin, boxes, [&](int64_t box) {
            const Reach at = scratch.reach[box];
            return at.image == n && at.top <= row && row <= at.bottom && at.left < left + tile_warps &&
                   left <= at.right;
          });
      for (int i = 0; mine && i < total; ++i) {
        const int64_t box = begin + shared.listed[i];
        gather_box(grad_crops, crops + box * grad_crops.stride[0], scratch.axes[box], scratch.wide, method, image,
                   work);
      }
    }
    if (mine) write_tile<T>(image, n, work);
  }
}

}  // namespace

int64_t grad_image_gather_scratch(int64_t boxes) { return scratch_bytes(boxes); }

void grad_image_gather(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                       void* scratch_memory, cudaStream_t stream) {
  const Scratch scratch = scratch_at(scratch_memory, boxes);
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    if (boxes.count > 0) {
      launch(&reach_kernel, divide_up(boxes.count, kWarps), kGatherThreads, 0, stream, boxes, method, grad_crops,
             grad_image, kTileHeight<Acc>, scratch);
    }
    const Cut cut = plan_cut(grad_image, kTileHeight<Acc>);
    launch(&gather_kernel<T>, cut.units, kGatherThreads, static_cast<int64_t>(sizeof(Shared<Acc>)), stream, grad_crops,
           method, grad_image, boxes.count, scratch, cut);
  });
}

}  // namespace roi_align::cuda
