// roi_align's mean, forward, in planes, for bins with few taps: one warp per box.
//
// Detectors pool 7 x 7 or 14 x 14 bins of two samples a side, which have four taps at most. Such small tables need no
// chunks, and fit a warp's part of shared memory together with a few weighed rows. So a warp computes its tables alone,
// one lane per bin of either axis, goes through its channels and waits for no other warp.
//
// Shared memory holds the weighed rows column by column: neighbouring lanes access neighbouring columns when they weigh
// rows, and bins, which are a few columns apart, when they weigh columns.

#include <cmath>

#include "roi_align/cuda/forward.h"

namespace roi_align::cuda {
namespace {

// Boxes of a block, which are independent of each other.
constexpr int kBoxes = 4;
// A bin of two samples has four taps, and there is a lane for each bin of y and of x.
constexpr int64_t kMostSamples = 2;
constexpr int kTaps = 2 * kMostSamples;
constexpr int kMostSide = kWarp / 2;
// Channels that a lane weighs together: it reads a tap once for as many loads, which are under way at once.
constexpr int kTogether = 4;
// Channels of a warp.
constexpr int64_t kChannels = 64;

// The taps of a bin, in one access. `at` is the offset of a row or column in the map, in bytes; -1 if there is no tap.
template <typename Acc> struct alignas(16) Taps {
  BinTap<Acc> tap[kTaps];
};

// Crops of `side` rows and columns of bins; with side 0 they are known at run time only, and at most kMostSide.
template <int side> struct Shape {
  static constexpr int kMost = side == 0 ? kMostSide : side;
  static constexpr int kColumns = kMost * kTaps;
  // Rows of bins that are weighed before their columns: a power of two, like the number of lines written at a time.
  static constexpr int kRows = side == 7 ? 8 : 4;
  static constexpr int kLines = kTogether * kRows;
  // A few more lines, so that lines of neighbouring columns, and of neighbouring bins, are in different banks.
  static constexpr int kPitch = kLines + (side == 7 ? 3 : 1);
};

template <typename Acc, int side> struct WarpMemory {
  using Of = Shape<side>;
  Taps<Acc> y[Of::kMost], x[Of::kMost];
  int32_t column[Of::kColumns];  // the offset of each column, in bytes
  // weighed[column][line]: line c * kRows + r is row r of channel c. The last column is 1: bins with fewer taps read it
  // in place of a tap.
  Acc weighed[Of::kColumns + 1][Of::kPitch];
};

// A box's data in every lane, besides its taps.
struct WarpBox {
  int64_t image, level;
  // The bins of y with taps: consecutive, because samples are. None if no bin of x has taps.
  int begin = 0, end = 0;
  int columns = 0;     // that are weighed
  bool dense = false;  // columns are all pixels from the first to the last that is read, not one for each tap
  int32_t lowest = 0;  // of the pixels of x
  // item / columns without a division, which costs more than a tap: item * inverse >> 16, exact for the small number of
  // items here.
  unsigned inverse = 0;
};

// The taps of this lane's bin: one half of a warp has the bins of y, the other half those of x.
template <typename Acc, typename T>
__device__ __forceinline__ void make_bin(const Pools& pools, int64_t row, const WarpBox& box, bool is_y, int bin,
                                         int64_t length, Taps<Acc>& taps) {
  const BinAxis<T> axis = roi_axis<T>(pools.rois, row, is_y, pools.scale[box.level], pools.rule);
  Slots<BinTap<Acc>> list = {taps.tap, 0};
  add_taps<Acc>(axis, bin, length, list);
  for (int k = list.count; k < kTaps; ++k) taps.tap[k].at = -1;
}

// Computes the tables of a box; ends with a barrier. Pooling ends with one too, so the previous box is complete.
template <typename Acc, int side>
__device__ __forceinline__ void make_tables(WarpMemory<Acc, side>& memory, const Pools& pools, int64_t row,
                                            const ConstView& map, int element, WarpBox& box) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, bin = lane % kMostSide;
  const bool is_y = lane < kMostSide;
  const bool present = bin < (is_y ? pools.rule.height : pools.rule.width);
  Taps<Acc>* const taps = (is_y ? memory.y : memory.x) + bin;  // not written by a lane without a bin
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

// Weighs `rows` rows of bins, from `first` on, at every column.
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

// The addresses and weights of the taps of a lane's bin of x.
template <typename Acc> struct LaneTaps {
  const Acc* line[kTaps];
  Acc weight[kTaps];
};

// A missing tap is -0 times 1, which changes no sum, not even one of -0; a bin without taps is +0.
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

// Weighs the columns of weigh_rows' results, and writes the bins: as many lines at a time as a warp has lanes for.
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
    // Fewer channels than a lane weighs together: each is weighed alone, as if it were all of them.
    const int count = static_cast<int>(part.channels), together = count < kTogether ? 1 : kTogether;
    const int64_t stride = map.stride[1] * int64_t{sizeof(T)};
    for (int next = 0; next < count; next += together) {
      // The last group may overlap the one before: both write the same values.
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
  static_assert(kBytes <= 48 * 1024);  // available to a block without opting in to more
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
