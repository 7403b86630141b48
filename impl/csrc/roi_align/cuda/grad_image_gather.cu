// The gradient of roi_align's mean in its maps on CUDA: the forward's two steps transposed, gathered tile by tile.
//
// A warp owns a tile of one map in 32 channels, a lane a channel, and keeps its sums in registers. For each box that
// reaches the tile (roi_align/cuda/tiles.h) the block works out what the box's bins weigh the tile's rows and columns,
// once for all of its channels; then each bin of y is spread over the columns, and their sums over the rows.
// There are no atomics, every pixel's sum has one order, and the gradient is written once, zeros included.

#include "cuda/vector.h"
#include "roi_align/cuda/tiles.h"

namespace roi_align::cuda {
namespace {

// Boxes whose weights are kept at once; weights of doubles take twice the room.
template <typename Acc> constexpr int kBatch = sizeof(Acc) == 8 ? 4 : 8;

// The bins of a box that reach a tile, up to 16 of each axis, and what each weighs the tile's rows or columns: 0 where
// it reads nothing.
template <typename Acc, int high, int wide> struct alignas(16) Weights {
  Acc of[2][kBinsTogether][wide];  // of y, of which `high` are rows, and of x
  int64_t offset;                  // of the first bin, from the crops' first value
  int32_t rows, columns;
};

// What a warp keeps in shared memory: values that it brings in and where they lie, and at last its pixels, to be
// turned.
template <typename Acc> union alignas(16) WarpRoom {
  struct {
    Acc values[kUnderWay<Acc>][kStagePitch<Acc>];
    int64_t offsets[kUnderWay<Acc>];
  } staged;
  Acc turned[kWarp][kPitch];
};

template <typename Acc, int high, int wide> struct Shared {
  Listed listed;
  Weights<Acc, high, wide> weights[kBatch<Acc>];
  WarpRoom<Acc> rooms[kTileWarps];
};

// What bin `bin` weighs `size` pixels from `begin` on, of `most` that there is room for: the very weights of the
// forward (roi_align/taps.h), pixel by pixel.
template <int most, typename Acc, typename T>
__device__ __forceinline__ void weigh_pixels(const BinAxis<T>& axis, int32_t bin, int64_t length, int64_t begin,
                                             int size, Acc* weights) {
  const T base = axis.base(bin);
  const Between<T> place = around<T>(begin, size, length);
  const SampleSpan span = samples_between(axis, base, place.lowest, place.highest);
#pragma unroll
  for (int pixel = 0; pixel < most; ++pixel) weights[pixel] = Acc(0);
  for (int64_t i = span.begin; i < span.end; ++i) {
    const Tap<Acc> tap = edge_tap<Acc>(axis.position(base, i), length);
    const int64_t low = tap.low - begin, high = tap.high - begin;
    if (low >= 0 && low < size) weights[low] += tap.high == tap.low ? Acc(1) : Acc(1) - tap.weight;
    if (high != low && high >= 0 && high < size) weights[high] += tap.weight;
  }
  const Acc samples = static_cast<Acc>(axis.grid);
#pragma unroll 1  // the registers hold sums
  for (int pixel = 0; pixel < size; ++pixel) weights[pixel] /= samples;
}

// Weighs the bins of one step of the entries from the first-th on, some threads an entry. Between two barriers.
template <typename Acc, int high, int wide>
__device__ __forceinline__ void weigh(Shared<Acc, high, wide>& shared, const RoiScratch& scratch, const Pools& pools,
                                      const ConstView& grad, const View& map, int first, int count, int32_t step_y,
                                      int32_t step_x) {
  constexpr int together = kTileThreads / kBatch<Acc>;
  const int thread = static_cast<int>(threadIdx.x), own = thread % together;
  const Tile& tile = shared.listed.tile;
  __syncthreads();  // weights before these may still be read
  for (int which = thread / together; which < count; which += static_cast<int>(blockDim.x) / together) {
    const Entry& entry = shared.listed.entry(first + which);
    const Bins y = entry.y.step(step_y), x = entry.x.step(step_x);
    const int32_t rows = y.end - y.begin, columns = x.end - x.begin;
    Weights<Acc, high, wide>& weights = shared.weights[which];
    if (own == 0) {
      weights.offset = entry.row * grad.stride[0] + y.begin * grad.stride[2] + x.begin * grad.stride[3];
      weights.rows = rows;
      weights.columns = columns;
    }
    const RoiBox& box = scratch.boxes[entry.row];
    for (int32_t task = own; task < rows + columns; task += together) {
      const int axis = task < rows ? 0 : 1;
      const int32_t k = axis == 0 ? task : task - rows;
      on_axis(axis == 0 ? box.y : box.x, is_wide(pools), [&](const auto& of) {
        weigh_pixels<wide>(of, (axis == 0 ? y.begin : x.begin) + k, map.size[2 + axis],
                           axis == 0 ? tile.top : tile.left, axis == 0 ? high : wide, weights.of[axis][k]);
        return 0;
      });
    }
  }
  __syncthreads();
}

// Copies weights to registers, 16 bytes at a time.
template <int count, typename Acc> __device__ __forceinline__ void read(const Acc* weights, Acc (&registers)[count]) {
  constexpr int vector = 16 / sizeof(Acc);
#pragma unroll
  for (int i = 0; i < count; i += vector) {
    const Vector<Acc, vector> some = load<Acc, vector>(weights + i);
#pragma unroll
    for (int k = 0; k < vector; ++k) registers[i + k] = some.lane[k];
  }
}

// The sums of a lane's channel.
template <typename Acc, int high, int wide> struct Sums {
  Acc at[high][wide];
};

// Adds one bin of y: `columns` is what the bins of x have sent to the tile's columns. A weight of 0 is a pixel that is
// not read, which an infinite gradient must not reach.
template <typename Acc, int high, int wide>
__device__ __forceinline__ void add_rows(Sums<Acc, high, wide>& sums, const Acc* weights_y,
                                         const Acc (&columns)[wide]) {
  Acc weights[high];
  read(weights_y, weights);
#pragma unroll
  for (int y = 0; y < high; ++y) {
    if (weights[y] == Acc(0)) continue;
#pragma unroll
    for (int x = 0; x < wide; ++x) sums.at[y][x] += weights[y] * columns[x];
  }
}

// Adds one bin of x. A finite g times a weight of 0 adds zero, which changes no sum that began as one: so weights are
// looked at only where g is not finite.
template <typename Acc, int wide>
__device__ __forceinline__ void add_column(Acc (&columns)[wide], const Acc* weights_x, Acc g) {
  Acc weights[wide];
  read(weights_x, weights);
  if (g - g == Acc(0)) {
#pragma unroll
    for (int x = 0; x < wide; ++x) columns[x] += weights[x] * g;
  } else {
#pragma unroll
    for (int x = 0; x < wide; ++x) {
      if (weights[x] != Acc(0)) columns[x] += weights[x] * g;
    }
  }
}

// Adds what a box's bins send to a warp's tile; `crops` is the warp's first channel of all crops.
template <bool planes, typename T, int high, int wide>
__device__ __forceinline__ void add_bins(const ConstView& grad, const T* crops,
                                         const Weights<Accumulate<T>, high, wide>& weights, int channels,
                                         WarpRoom<Accumulate<T>>& room, Sums<Accumulate<T>, high, wide>& sums) {
  using Acc = Accumulate<T>;
  constexpr int most = kUnderWay<Acc>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int32_t columns = weights.columns, count = weights.rows * columns;
  const unsigned inverse = 65536u / static_cast<unsigned>(columns) + 1;  // sample / columns is exact up to 16 * 16
  const T* const crop = crops + weights.offset;
  Acc sent[wide] = {};
  int32_t column = 0;
  const Acc* weights_y = weights.of[0][0];
#pragma unroll 1
  for (int32_t begin = 0; begin < count; begin += most) {
    const int32_t few = count - begin < most ? count - begin : most;
    __syncwarp();  // the values before these may still be read, and their places
    if (lane < most) {
      const int32_t sample = begin + (lane < few ? lane : few - 1);
      const int32_t row = static_cast<int32_t>(static_cast<unsigned>(sample) * inverse >> 16);
      room.staged.offsets[lane] = row * grad.stride[2] + (sample - row * columns) * grad.stride[3];
    }
    const auto offset_of = [&](int i) { return room.staged.offsets[i]; };
    stage<planes, most>(crop, grad.stride[1], log_of(few), offset_of, channels, lane, room.staged.values);
    const Acc* g = &room.staged.values[0][lane];
#pragma unroll 1
    for (int32_t k = 0; k < few; ++k) {
      add_column(sent, weights.of[1][column], *g);
      g += kStagePitch<Acc>;
      if (++column < columns) continue;
      add_rows(sums, weights_y, sent);
      weights_y += wide;
      column = 0;
#pragma unroll
      for (int x = 0; x < wide; ++x) sent[x] = Acc(0);
    }
  }
}

// Writes a warp's tile. In planes, neighbouring lanes take neighbouring pixels; else neighbouring channels.
template <typename T, int high, int wide>
__device__ __forceinline__ void write_tile(const View& map, const Tile& tile, const Channels& channels,
                                           const Sums<Accumulate<T>, high, wide>& sums, WarpRoom<Accumulate<T>>& room) {
  constexpr int pixels = high * wide, lanes = pixels < kWarp ? pixels : kWarp;
  const int lane = afresh(static_cast<int>(threadIdx.x) % kWarp);
  T* const out = static_cast<T*>(map.data) + tile.image * map.stride[0] + channels.first * map.stride[1] +
                 tile.top * map.stride[2] + tile.left * map.stride[3];
  const int64_t rows = map.size[2] - tile.top, columns = map.size[3] - tile.left;
  if (map.stride[1] == 1) {
#pragma unroll
    for (int pixel = 0; pixel < pixels; ++pixel) {
      const int y = pixel / wide, x = pixel % wide;
      if (lane < channels.count && y < rows && x < columns) {
        out[lane + y * map.stride[2] + x * map.stride[3]] = narrow<T>(sums.at[y][x]);
      }
    }
    return;
  }
#pragma unroll
  for (int begin = 0; begin < pixels; begin += lanes) {
    __syncwarp();  // what was brought in or turned before may still be read
#pragma unroll
    for (int k = 0; k < lanes; ++k) room.turned[k][lane] = sums.at[(begin + k) / wide][(begin + k) % wide];
    __syncwarp();
    const int pixel = lane % lanes, y = (begin + pixel) / wide, x = (begin + pixel) % wide;
    if (y >= rows || x >= columns) continue;
    T* at = out + y * map.stride[2] + x * map.stride[3] + lane / lanes * map.stride[1];
#pragma unroll 8
    for (int c = lane / lanes; c < channels.count; c += kWarp / lanes) {
      *at = narrow<T>(room.turned[pixel][c]);
      at += kWarp / lanes * map.stride[1];
    }
  }
}

// Two blocks a multiprocessor where the registers for a third would spill on some architecture.
template <typename T, bool planes> constexpr int kBlocks = sizeof(T) == 8 || (sizeof(T) == 2 && planes) ? 2 : 3;

template <typename T, int high, int wide, bool planes>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T, planes>)
    mean_gather_kernel(ConstView grad, Pools pools, Maps maps, RoiScratch scratch, Tiles tiles) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared<Acc, high, wide>*>(shared_memory);
  WarpRoom<Acc>& room = shared.rooms[threadIdx.x / kWarp];
  for (int64_t unit = blockIdx.x; unit < tiles.units; unit += gridDim.x) {
    if (threadIdx.x == 0) shared.listed.tile = tile_of<high, wide>(tiles, maps, unit);
    __syncthreads();
    const View& map = maps.map[shared.listed.tile.level];
    const Channels channels = channels_of(shared.listed.tile, map);
    const T* const crops = static_cast<const T*>(grad.data) + channels.first * grad.stride[1];
    Sums<Acc, high, wide> sums = {};
    for_each_listing<high, wide>(shared.listed, scratch, pools, map, [&](int total) {
      int32_t many = 0;
      for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) many |= shared.listed.many[warp];
      const int batch = many != 0 ? 1 : kBatch<Acc>;  // a box that takes more than one step goes alone
      for (int first = 0; first < total; first += batch) {
        const int count = total - first < batch ? total - first : batch;
        const Entry& entry = shared.listed.entry(first);
        const int32_t steps_y = many != 0 ? entry.y.steps() : 1, steps_x = many != 0 ? entry.x.steps() : 1;
        for (int32_t y = 0; y < steps_y; ++y) {
          for (int32_t x = 0; x < steps_x; ++x) {
            weigh(shared, scratch, pools, grad, map, first, count, y, x);
            if (channels.count <= 0) continue;
            for (int which = 0; which < count; ++which) {
              add_bins<planes>(grad, crops, shared.weights[which], channels.count, room, sums);
            }
          }
        }
      }
    });
    if (channels.count > 0) write_tile<T>(map, shared.listed.tile, channels, sums, room);
    __syncthreads();  // the tile may still be read
  }
}

template <typename T, int high, int wide>
void gather(const ConstView& grad, const Pools& pools, const Maps& maps, void* memory, cudaStream_t stream) {
  using Acc = Accumulate<T>;
  const RoiScratch scratch = roi_scratch_at(memory, maps, pools.rois.count, high, wide);
  find_reach(pools, maps, high, wide, scratch, stream);
  const Tiles tiles = plan_tiles(maps, high, wide);
  const auto kernel =
      grad.stride[1] == 1 ? &mean_gather_kernel<T, high, wide, false> : &mean_gather_kernel<T, high, wide, true>;
  launch(kernel, tiles.units, tiles.threads, static_cast<int64_t>(sizeof(Shared<Acc, high, wide>)), stream, grad, pools,
         maps, scratch, tiles);
}

}  // namespace

int64_t roi_grad_maps_scratch(const Maps& maps, int64_t boxes) { return roi_scratch_bytes(maps, boxes); }

void roi_grad_maps(const ConstView& grad_crops, const Pools& pools, const Maps& grad_maps, void* scratch,
                   cudaStream_t stream) {
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    const Tiles tiles = plan_tiles(grad_maps, kTileHigh<Acc>, kTileWide);
    if (tiles.units * tiles.threads < kFewWarps * kWarp) {
      gather<T, kSmallTile, kSmallTile>(grad_crops, pools, grad_maps, scratch, stream);
    } else {
      gather<T, kTileHigh<Acc>, kTileWide>(grad_crops, pools, grad_maps, scratch, stream);
    }
  });
}

}  // namespace roi_align::cuda
