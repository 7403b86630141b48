// roi_align's mean, forward, in planes, where bins have few taps: a warp for a box.
//
// Detectors pool 7 x 7 or 14 x 14 bins of two samples a side, which have four taps at most. Tables of so few need no
// chunks, and lie in a warp's own part of shared memory beside a few rows of what it weighs. So a warp makes them by
// itself, a lane a bin of either axis, goes through its channels and waits for no other warp.
//
// Shared memory holds what is weighed column by column: neighbouring lanes take neighbouring columns when rows are
// weighed, and bins, which are some columns apart, when columns are.

#include <cmath>

#include "roi_align/cuda/forward.h"

namespace roi_align::cuda {
namespace {

// Boxes of a block, which have nothing to do with each other.
constexpr int kBoxes = 4;
// A bin of two samples has four taps, and there is a lane for each bin of y and of x.
constexpr int64_t kMostSamples = 2;
constexpr int kTaps = 2 * kMostSamples;
constexpr int kMostSide = kWarp / 2;
// Channels that a lane weighs together: as many loads are under way at once, for one reading of a tap.
constexpr int kTogether = 4;
// Channels of a warp.
constexpr int64_t kChannels = 64;

// The taps of a bin, read at once. `at` is a row's or column's place in the map, in bytes; -1 where no tap is.
template <typename Acc> struct alignas(16) Taps {
  BinTap<Acc> tap[kTaps];
};

// Bins of `side` rows and columns; a side of 0 is known at run time alone, and then at most kMostSide.
template <int side> struct Shape {
  static constexpr int kMost = side == 0 ? kMostSide : side;
  static constexpr int kColumns = kMost * kTaps;
  // Rows of bins that are weighed before their columns: a power of two, as the lines are that are written at a time.
  static constexpr int kRows = side == 7 ? 8 : 4;
  static constexpr int kLines = kTogether * kRows;
  // A few more, so that lines of neighbouring columns are in different banks, and so are those of neighbouring bins.
  static constexpr int kPitch = kLines + (side == 7 ? 3 : 1);
};

template <typename Acc, int side> struct WarpMemory {
  using Of = Shape<side>;
  Taps<Acc> y[Of::kMost], x[Of::kMost];
  int32_t column[Of::kColumns];  // where it lies, in bytes
  // weighed[column][line]: line c * kRows + r is row r of channel c. The last column is 1: what a bin reads for a tap
  // that it has not got.
  Acc weighed[Of::kColumns + 1][Of::kPitch];
};

// What lanes need to know of a box besides its taps.
struct WarpBox {
  int64_t image, level;
  // The bins of y that read anything: neighbours, as their samples are. None if no bin of x does.
  int begin = 0, end = 0;
  int columns = 0;     // that are weighed
  bool dense = false;  // every pixel from the first to the last that is read, and not one for each tap
  int32_t lowest = 0;  // of the pixels of x
  // What item / columns is without a division, which costs more than a tap: item * inverse >> 16, exactly for as few
  // items as there are.
  unsigned inverse = 0;
};

// The taps of this lane's bin: half a warp has those of y, the other half those of x.
template <typename Acc, typename T>
__device__ __forceinline__ void make_bin(const Pools& pools, int64_t row, const WarpBox& box, bool is_y, int bin,
                                         int64_t length, Taps<Acc>& taps) {
  const BinAxis<T> axis = roi_axis<T>(pools.rois, row, is_y, pools.scale[box.level], pools.rule);
  Slots<BinTap<Acc>> list = {taps.tap, 0};
  add_taps<Acc>(axis, bin, length, list);
  for (int k = list.count; k < kTaps; ++k) taps.tap[k].at = -1;
}

// Makes the tables of a box; ends with a barrier. The box before is pooled: that too ends with one.
template <typename Acc, int side>
__device__ __forceinline__ void make_tables(WarpMemory<Acc, side>& memory, const Pools& pools, int64_t row,
                                            const ConstView& map, int element, WarpBox& box) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, bin = lane % kMostSide;
  const bool is_y = lane < kMostSide;
  const bool present = bin < (is_y ? pools.rule.height : pools.rule.width);
  Taps<Acc>* const taps = (is_y ? memory.y : memory.x) + bin;  // which a lane without a bin leaves alone
  const int64_t length = is_y ? map.size[2] : map.size[3];
  int32_t lowest = INT32_MAX, highest = -1;
  if (present) {
    if (is_wide(pools)) {
      make_bin<Acc, double>(pools, row, box, is_y, bin, length, *taps);
    } else {
      make_bin<Acc, float>(pools, row, box, is_y, bin, length, *taps);
    }
    for (int k = 0; !is_y && k < kTaps; ++k) {
      const int32_t at = taps->tap[k].at;
      lowest = at >= 0 && at < lowest ? at : lowest;
      highest = at > highest ? at : highest;
    }
  }
  const unsigned reading = __ballot_sync(kAllLanes, present && is_y && taps->tap[0].at >= 0);
  lowest = least_of_warp(lowest);
  highest = -least_of_warp(-highest);
  const int slots = static_cast<int>(pools.rule.width) * kTaps;
  box.lowest = lowest;
  box.dense = int64_t{highest} - lowest < slots;
  box.columns = highest < 0 ? 0 : box.dense ? highest - lowest + 1 : slots;
  box.inverse = 65535u / static_cast<unsigned>(box.columns == 0 ? 1 : box.columns) + 1;
  if (box.columns > 0 && reading != 0) {
    box.begin = __ffs(static_cast<int>(reading)) - 1;
    box.end = kWarp - __clz(static_cast<int>(reading));
  }
  if (present && is_y) {
    const int32_t stride = static_cast<int32_t>(map.stride[2] * element);
    for (int k = 0; k < kTaps; ++k) {
      if (taps->tap[k].at > 0) taps->tap[k].at *= stride;
    }
  }
  __syncwarp();
  const int32_t stride = static_cast<int32_t>(map.stride[3] * element);
  for (int column = lane; column < box.columns; column += kWarp) {
    const int32_t at = memory.x[column / kTaps].tap[column % kTaps].at;
    memory.column[column] = stride * (box.dense ? lowest + column : at < 0 ? 0 : at);
  }
  __syncwarp();
}

// Weighs `rows` rows of bins from `first` on, at every column.
template <typename T, int side>
__device__ __forceinline__ void weigh_rows(WarpMemory<Accumulate<T>, side>& memory, const WarpBox& box,
                                           const char* pixels, int64_t stride, int first, int rows) {
  using Acc = Accumulate<T>;
  using Of = Shape<side>;
  for (int item = static_cast<int>(threadIdx.x) % kWarp; item < rows * box.columns; item += kWarp) {
    const int row = static_cast<int>(static_cast<unsigned>(item) * box.inverse >> 16),
              column = item - row * box.columns;
    const Taps<Acc> taps = memory.y[first + row];
    const char* const top = pixels + memory.column[column];
    Acc sums[kTogether];
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      if (k > 0 && taps.tap[k].at < 0) break;
      const char* pixel = top + taps.tap[k].at;
#pragma unroll
      for (int c = 0; c < kTogether; ++c, pixel += stride) {
        const Acc product = taps.tap[k].weight * widen(*reinterpret_cast<const T*>(pixel));
        sums[c] = k == 0 ? product : sums[c] + product;
      }
    }
#pragma unroll
    for (int c = 0; c < kTogether; ++c) memory.weighed[column][c * Of::kRows + row] = sums[c];
  }
}

// Where a lane reads the taps of its bin of x, and what they weigh.
template <typename Acc> struct LaneTaps {
  const Acc* line[kTaps];
  Acc weight[kTaps];
};

// A tap that there is not is -0 times 1, which changes no sum, not even one of -0; a bin without taps is +0.
template <typename Acc, int side>
__device__ __forceinline__ LaneTaps<Acc> lane_taps(const WarpMemory<Acc, side>& memory, const WarpBox& box, int bin) {
  LaneTaps<Acc> result;
  const Taps<Acc> taps = memory.x[bin];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const bool present = taps.tap[k].at >= 0;
    const int column = box.dense ? taps.tap[k].at - box.lowest : bin * kTaps + k;
    result.line[k] = memory.weighed[present ? column : Shape<side>::kColumns];
    result.weight[k] = present ? taps.tap[k].weight : k == 0 ? Acc(0) : -Acc(0);
  }
  return result;
}

// Weighs the columns of what weigh_rows left, and writes the bins: as many lines at a time as a warp has lanes for.
template <typename T, int side>
__device__ __forceinline__ void weigh_columns(const LaneTaps<Accumulate<T>>& taps, T* crop, int channels, int first,
                                              int rows, int height, int width) {
  using Acc = Accumulate<T>;
  using Of = Shape<side>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, begin = lane / width;
  const int step = width > kWarp / 4 ? 2 : 4;
  if (begin >= step) return;
  static_assert(Of::kRows % 4 == 0);
  const int left = rows - begin;
  T* bin = crop + (first + begin) * width + lane % width;
#pragma unroll
  for (int c = 0; c < kTogether; ++c, bin += height * width) {
    if (c >= channels) break;
#pragma unroll(side == 0 ? 1 : Of::kRows)
    for (int row = 0; row < Of::kRows; row += step) {
      if (row >= left) break;
      const int line = c * Of::kRows + row + begin;
      Acc sum = taps.weight[0] * taps.line[0][line];
#pragma unroll
      for (int k = 1; k < kTaps; ++k) sum += taps.weight[k] * taps.line[k][line];
      bin[row * width] = narrow<T>(sum);
    }
  }
}

template <typename T, int side>
__global__ void __launch_bounds__(kBoxes* kWarp, sizeof(T) == 8 ? 5 : 6)
    planes_warp_kernel(ConstMaps maps, Pools pools, View crops, BoxParts parts) {
  using Acc = Accumulate<T>;
  using Of = Shape<side>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  WarpMemory<Acc, side>& memory = reinterpret_cast<WarpMemory<Acc, side>*>(shared_memory)[warp];
  const int height = side == 0 ? static_cast<int>(pools.rule.height) : side;
  const int width = side == 0 ? static_cast<int>(pools.rule.width) : side;
  for (int line = lane; line < Of::kLines; line += kWarp) memory.weighed[Of::kColumns][line] = Acc(1);
  const int64_t step = int64_t{gridDim.x} * kBoxes;
  for (int64_t unit = int64_t{blockIdx.x} * kBoxes + warp; unit < parts.units; unit += step) {
    const BoxPart part = parts.at(unit);
    T* const crop = static_cast<T*>(crops.data) + part.row * crops.stride[0] + part.first * crops.stride[1];
    WarpBox box = {roi_image(pools.rois, part.row), roi_level(pools.rois, part.row, pools.level)};
    if (box.image >= maps.map[0].size[0]) box.image = -1;
    if (box.image >= 0 && box.level >= 0) make_tables(memory, pools, part.row, maps.map[box.level], sizeof(T), box);
    if (box.end - box.begin < height) {
      const T value = narrow<T>(box.image < 0 ? static_cast<Acc>(NAN) : Acc(0));
      for (int i = lane; i < part.channels * height * width; i += kWarp) {
        const int row = i / width % height;
        if (row < box.begin || row >= box.end) crop[i] = value;
      }
    }
    if (box.begin >= box.end) continue;
    const ConstView& map = maps.map[box.level];
    const char* const pixels = static_cast<const char*>(map.data) +
                               (box.image * map.stride[0] + part.first * map.stride[1]) * int64_t{sizeof(T)};
    const LaneTaps<Acc> taps = lane_taps(memory, box, lane % width);
    // Fewer channels than are weighed together are weighed one by one, the same one again and again.
    const int count = static_cast<int>(part.channels), together = count < kTogether ? 1 : kTogether;
    const int64_t stride = map.stride[1] * int64_t{sizeof(T)};
    for (int next = 0; next < count; next += together) {
      // The last ones may begin among those before: what is written twice is the same.
      const int c = next + together < count ? next : count - together;
      for (int first = box.begin; first < box.end; first += Of::kRows) {
        const int rows = box.end - first < Of::kRows ? box.end - first : Of::kRows;
        weigh_rows<T>(memory, box, pixels + c * stride, together == 1 ? 0 : stride, first, rows);
        __syncwarp();
        weigh_columns<T, side>(taps, crop + c * height * width, together, first, rows, height, width);
        __syncwarp();
      }
    }
  }
}

template <typename T, int side>
void launch_planes_warp(const ConstMaps& maps, const Pools& pools, const View& crops, cudaStream_t stream) {
  const BoxParts parts = parts_of(crops.size[0], crops.size[1], kChannels);
  constexpr int64_t kBytes = kBoxes * static_cast<int64_t>(sizeof(WarpMemory<Accumulate<T>, side>));
  static_assert(kBytes <= 48 * 1024);  // what a block may have without asking for it
  launch(&planes_warp_kernel<T, side>, divide_up(parts.units, kBoxes), kBoxes * kWarp, kBytes, stream, maps, pools,
         crops, parts);
}

}  // namespace

bool takes_planes_warp(const ConstMaps& maps, const Pools& pools, const View& crops) {
  const PoolRule& rule = pools.rule;
  const bool few_taps = rule.sampling_ratio > 0 && rule.sampling_ratio <= kMostSamples;
  bool takes = few_taps && rule.height <= kMostSide && rule.width <= kMostSide && crops.stride[3] == 1 &&
               crops.stride[2] == rule.width && crops.stride[1] == rule.height * rule.width;
  for (int64_t level = 0; level < maps.levels; ++level) {
    const ConstView& map = maps.map[level];
    const bool forwards = map.stride[2] >= 0 && map.stride[3] >= 0;
    takes = takes && forwards && map.size[2] * map.stride[2] + map.size[3] * map.stride[3] <= INT32_MAX / 8;
  }
  return takes;
}

void forward_planes_warp(const ConstMaps& maps, const Pools& pools, const View& crops, cudaStream_t stream) {
  const int64_t side = pools.rule.height == pools.rule.width ? pools.rule.height : 0;
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    if (side == 7) {
      launch_planes_warp<T, 7>(maps, pools, crops, stream);
    } else if (side == 14) {
      launch_planes_warp<T, 14>(maps, pools, crops, stream);
    } else {
      launch_planes_warp<T, 0>(maps, pools, crops, stream);
    }
  });
}

}  // namespace roi_align::cuda
