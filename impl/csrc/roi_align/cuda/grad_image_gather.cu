// The gradient of roi_align's mean in its maps on CUDA: the forward's two steps transposed, gathered tile by tile.
//
// A warp owns a tile of one map in 32 channels, a lane a channel, and keeps its sums in registers. For each box that
// reaches the tile (roi_align/cuda/tiles.h) the block works out what the box's bins weigh the tile's rows and columns,
// once for all of its channels; then each bin of y is spread over the columns, and what came of that over the rows.
// There are no atomics, every pixel's sum has one order, and the gradient is written once, zeros included.

#include "roi_align/cuda/tiles.h"

namespace roi_align::cuda {
namespace {

// Bins of an axis that are weighed at a time, as many as shared memory has room for; more seldom reach a tile.
template <typename Acc> constexpr int kBins = sizeof(Acc) == 8 ? 8 : 16;
constexpr int kTileSide = 8;

template <typename Acc> struct Shared {
  Listed listed;
  // weights[box][axis][bin][pixel]: what a bin weighs the rows (axis 0) or columns of the tile, 0 where it reads
  // nothing.
  Acc weights[kBatch][2][kBins<Acc>][kTileSide];
  Acc staged[kTileWarps][kWarp][kPitch];
};

// What bin `bin` weighs `size` pixels from `begin` on: the very weights of the forward (roi_align/taps.h), pixel by
// pixel.
template <typename Acc, typename T>
__device__ __forceinline__ void weigh_pixels(const BinAxis<T>& axis, int64_t bin, int64_t length, int64_t begin,
                                             int size, Acc* weights) {
  const T base = axis.base(bin);
  const Between<T> place = around<T>(begin, size, length);
  const SampleSpan span = samples_between(axis, base, place.lowest, place.highest);
  for (int pixel = 0; pixel < kTileSide; ++pixel) weights[pixel] = Acc(0);
  for (int64_t i = span.begin; i < span.end; ++i) {
    const Tap<Acc> tap = edge_tap<Acc>(axis.position(base, i), length);
    const int64_t low = tap.low - begin, high = tap.high - begin;
    if (low >= 0 && low < size) weights[low] += tap.high == tap.low ? Acc(1) : Acc(1) - tap.weight;
    if (high != low && high >= 0 && high < size) weights[high] += tap.weight;
  }
  const Acc samples = static_cast<Acc>(axis.grid);
  for (int pixel = 0; pixel < kTileSide; ++pixel) weights[pixel] /= samples;
}

// Weighs the bins of a batch, from the first_y-th and first_x-th of those that may reach the tile. Between two
// barriers.
template <typename Acc>
__device__ __forceinline__ void weigh_batch(Shared<Acc>& shared, const RoiScratch& scratch, const Pools& pools,
                                            const View& map, const Tile& tile, int64_t begin, int first, int count,
                                            int first_y, int first_x) {
  constexpr int bins = kBins<Acc>;
  const Listed& listed = shared.listed;
  __syncthreads();
  for (int task = static_cast<int>(threadIdx.x); task < count * 2 * bins; task += static_cast<int>(blockDim.x)) {
    const int which = task / (2 * bins), axis = task / bins % 2, place = task % bins;
    const int64_t bin = int64_t{listed.begin[which][axis]} + (axis == 0 ? first_y : first_x) + place;
    if (bin >= listed.end[which][axis]) continue;
    const RoiBox& box = scratch.boxes[begin + listed.box[first + which]];
    Acc* const weights = shared.weights[which][axis][place];
    on_axis(axis == 0 ? box.y : box.x, is_wide(pools), [&](const auto& of) {
      weigh_pixels(of, bin, map.size[2 + axis], axis == 0 ? tile.top : tile.left,
                   axis == 0 ? kTileRows<Acc> : kTileColumns, weights);
      return 0;
    });
  }
  __syncthreads();
}

// The sums of a lane's channel.
template <typename Acc> struct Sums {
  Acc at[kTileRows<Acc>][kTileColumns];
};

// Adds one bin of y: `columns` is what the bins of x have sent to the tile's columns. A weight of 0 is a pixel that is
// not read, which an infinite gradient must not reach.
template <typename Acc>
__device__ __forceinline__ void add_rows(Sums<Acc>& sums, const Acc* weights, const Acc (&columns)[kTileColumns]) {
#pragma unroll
  for (int y = 0; y < kTileRows<Acc>; ++y) {
    const Acc weight = weights[y];
    if (weight == Acc(0)) continue;
#pragma unroll
    for (int x = 0; x < kTileColumns; ++x) sums.at[y][x] += weight * columns[x];
  }
}

template <typename Acc>
__device__ __forceinline__ void add_column(Acc (&columns)[kTileColumns], const Acc* weights, Acc g) {
#pragma unroll
  for (int x = 0; x < kTileColumns; ++x) {
    const Acc weight = weights[x];
    if (weight != Acc(0)) columns[x] += weight * g;
  }
}

// Adds what `rows` times `columns` bins of one box send to a warp's tile; `crop` is the first of them, of the warp's
// first channel.
template <typename T>
__device__ __forceinline__ void add_bins(const ConstView& grad, const T* crop, int rows, int columns, int channels,
                                         const Accumulate<T> (*weights_y)[kTileSide],
                                         const Accumulate<T> (*weights_x)[kTileSide], Accumulate<T> (*staged)[kPitch],
                                         Sums<Accumulate<T>>& sums) {
  using Acc = Accumulate<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool channels_fast = grad.stride[1] == 1;
  for (int row = 0; row < rows; ++row) {
    const T* const line = crop + row * grad.stride[2];
    Acc sent[kTileColumns] = {};
    if (channels_fast) {
      if (lane < channels) {
#pragma unroll 4
        for (int bin = 0; bin < columns; ++bin) {
          add_column(sent, weights_x[bin], widen(line[bin * grad.stride[3] + lane]));
        }
      }
    } else {
      stage(line, grad, columns, channels, lane, staged);
      for (int bin = 0; bin < columns; ++bin) add_column(sent, weights_x[bin], staged[bin][lane]);
    }
    add_rows(sums, weights_y[row], sent);
  }
}

// Writes a warp's tile. In planes, neighbouring lanes take neighbouring pixels; else neighbouring channels.
template <typename T>
__device__ __forceinline__ void write_tile(const View& map, const Tile& tile, const Sums<Accumulate<T>>& sums,
                                           Accumulate<T> (*staged)[kPitch]) {
  constexpr int rows = kTileRows<Accumulate<T>>, rows_turned = kWarp / kTileColumns;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  T* const base = static_cast<T*>(map.data) + tile.image * map.stride[0] + tile.first_channel * map.stride[1];
  if (map.stride[1] == 1) {
#pragma unroll
    for (int pixel = 0; pixel < rows * kTileColumns; ++pixel) {
      const int64_t y = tile.top + pixel / kTileColumns, x = tile.left + pixel % kTileColumns;
      if (lane < tile.channels && y < map.size[2] && x < map.size[3]) {
        base[lane + y * map.stride[2] + x * map.stride[3]] =
            narrow<T>(sums.at[pixel / kTileColumns][pixel % kTileColumns]);
      }
    }
    return;
  }
#pragma unroll
  for (int first = 0; first < rows; first += rows_turned) {
    __syncwarp();  // whoever still reads what was staged before
#pragma unroll
    for (int pixel = 0; pixel < kWarp; ++pixel) {
      staged[pixel][lane] = sums.at[first + pixel / kTileColumns][pixel % kTileColumns];
    }
    __syncwarp();
    const int64_t y = tile.top + first + lane / kTileColumns, x = tile.left + lane % kTileColumns;
    if (y < map.size[2] && x < map.size[3]) {
      T* const pixel = base + y * map.stride[2] + x * map.stride[3];
      for (int c = 0; c < tile.channels; ++c) pixel[c * map.stride[1]] = narrow<T>(staged[lane][c]);
    }
  }
}

// Of doubles two blocks a multiprocessor: the registers for a third spill on sm_100.
template <typename T>
__global__ void __launch_bounds__(kTileWarps* kWarp, sizeof(T) == 8 ? 2 : 3)
    mean_gather_kernel(ConstView grad, Pools pools, Maps maps, RoiScratch scratch, Tiles tiles) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared<Acc>& shared = *reinterpret_cast<Shared<Acc>*>(shared_memory);
  const Listed& listed = shared.listed;
  constexpr int bins = kBins<Acc>;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int64_t unit = blockIdx.x; unit < tiles.units; unit += gridDim.x) {
    const Tile tile = tile_of(tiles, maps, kTileRows<Acc>, unit);
    const View& map = maps.map[tile.level];
    Sums<Acc> sums = {};
    const int64_t looks = int64_t{kLooksAt} * blockDim.x;
    for (int64_t begin = 0; begin < pools.rois.count; begin += looks) {
      const int total = list_boxes(shared.listed, scratch, begin, pools.rois.count, tile);
      for (int first = 0; first < total; first += kBatch) {
        const int count = total - first < kBatch ? total - first : kBatch;
        find_bins(shared.listed, scratch, pools, map, tile, kTileRows<Acc>, begin, first, count);
        int most_y = 0, most_x = 0;
        for (int which = 0; which < count; ++which) {
          const int high = listed.end[which][0] - listed.begin[which][0];
          const int wide = listed.end[which][1] - listed.begin[which][1];
          most_y = high > most_y ? high : most_y;
          most_x = wide > most_x ? wide : most_x;
        }
        for (int first_y = 0; first_y < most_y; first_y += bins) {
          for (int first_x = 0; first_x < most_x; first_x += bins) {
            weigh_batch(shared, scratch, pools, map, tile, begin, first, count, first_y, first_x);
            for (int which = 0; which < count; ++which) {
              const int y = listed.begin[which][0] + first_y, x = listed.begin[which][1] + first_x;
              const int rows = listed.end[which][0] - y, columns = listed.end[which][1] - x;
              if (rows <= 0 || columns <= 0 || tile.channels <= 0) continue;
              const T* const crop = static_cast<const T*>(grad.data) +
                                    (begin + listed.box[first + which]) * grad.stride[0] +
                                    tile.first_channel * grad.stride[1] + y * grad.stride[2] + x * grad.stride[3];
              add_bins(grad, crop, rows < bins ? rows : bins, columns < bins ? columns : bins, tile.channels,
                       shared.weights[which][0], shared.weights[which][1], shared.staged[warp], sums);
            }
          }
        }
      }
    }
    if (tile.channels > 0) write_tile<T>(map, tile, sums, shared.staged[warp]);
  }
}

}  // namespace

int64_t roi_grad_maps_scratch(int64_t boxes) { return roi_scratch_bytes(boxes); }

void roi_grad_maps(const ConstView& grad_crops, const Pools& pools, const Maps& grad_maps, void* scratch_memory,
                   cudaStream_t stream) {
  const RoiScratch scratch = roi_scratch_at(scratch_memory, pools.rois.count);
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    const Tiles tiles = plan_tiles(grad_maps, kTileRows<Acc>);
    find_reach(pools, grad_maps, kTileRows<Acc>, scratch, stream);
    launch(&mean_gather_kernel<T>, tiles.units, tiles.threads, static_cast<int64_t>(sizeof(Shared<Acc>)), stream,
           grad_crops, pools, grad_maps, scratch, tiles);
  });
}

}  // namespace roi_align::cuda
