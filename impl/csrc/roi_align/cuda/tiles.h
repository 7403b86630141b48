// Gathering a gradient tile by tile, for the mean and for the maximum: which boxes reach a tile, and with which bins.
//
// A block owns a tile of one map and goes through the boxes that reach it in the order of the list. So the order of a
// pixel's sum is the list's, then the bins', however the work is cut, and nothing else writes there.

#pragma once

#include "cuda/list.h"
#include "cuda/stage.h"
#include "roi_align/cuda/bins.h"

namespace roi_align::cuda {

constexpr int kTileColumns = 8;
// Sums are kept in registers: half as many where they are doubles.
template <typename Acc> constexpr int kTileRows = sizeof(Acc) == 8 ? 4 : 8;
// Warps of a block, each with the same tile in 32 channels of its own.
constexpr int kTileWarps = 4;
// Boxes that each thread looks at before the block goes through those that were found, and how many of them it takes at
// a time.
constexpr int kLooksAt = 4;
constexpr int kFound = kLooksAt * kTileWarps * kWarp;
constexpr int kBatch = 8;

// The tiles that a box reaches on its level, first and last; last < first if it reaches none.
struct RoiReach {
  int32_t top, bottom;
  int32_t left, right;
};

// What is kept of all boxes beside the gradient.
struct RoiScratch {
  RoiBox* boxes;
  RoiReach* reach;
};

inline int64_t roi_scratch_bytes(int64_t boxes) {
  return boxes * static_cast<int64_t>(sizeof(RoiBox) + sizeof(RoiReach));
}

inline RoiScratch roi_scratch_at(void* memory, int64_t boxes) {
  RoiBox* const first = static_cast<RoiBox*>(memory);
  return {first, reinterpret_cast<RoiReach*>(first + boxes)};
}

// The tiles of all levels, one after another, and each in parts of its channels.
struct Tiles {
  int64_t first[kMostLevels + 1];  // tile of a level
  int64_t high[kMostLevels], wide[kMostLevels];
  int64_t parts;
  int64_t units;
  int threads;
};

inline Tiles plan_tiles(const Maps& maps, int rows) {
  Tiles tiles = {};
  const int64_t warps = divide_up(maps.map[0].size[1], kWarp);
  const int together = static_cast<int>(warps < kTileWarps ? warps : kTileWarps);
  for (int64_t level = 0; level < maps.levels; ++level) {
    const View& map = maps.map[level];
    tiles.high[level] = divide_up(map.size[2], rows);
    tiles.wide[level] = divide_up(map.size[3], kTileColumns);
    tiles.first[level + 1] = tiles.first[level] + map.size[0] * tiles.high[level] * tiles.wide[level];
  }
  tiles.parts = divide_up(warps, together);
  tiles.units = tiles.first[maps.levels] * tiles.parts;
  tiles.threads = together * kWarp;
  return tiles;
}

// A tile of one map, and where a warp of its block works.
struct Tile {
  int32_t level, image;
  int32_t row, column;  // among the tiles of the map
  int64_t top, left;    // in pixels
  int64_t first_channel;
  int channels;  // of the warp, at most one for each lane; none or fewer if it has nothing to do
};

__device__ __forceinline__ Tile tile_of(const Tiles& tiles, const Maps& maps, int rows, int64_t unit) {
  const int64_t tile = divide(unit, tiles.parts), part = unit - tile * tiles.parts;
  int32_t level = 0;
  while (tile >= tiles.first[level + 1]) ++level;
  const int64_t in_level = tile - tiles.first[level];
  const int64_t line = divide(in_level, tiles.wide[level]), image = divide(line, tiles.high[level]);
  const int64_t row = line - image * tiles.high[level], column = in_level - line * tiles.wide[level];
  const int64_t first = (part * (blockDim.x / kWarp) + threadIdx.x / kWarp) * kWarp;
  const int64_t channels = maps.map[level].size[1] - first;
  return {level,
          static_cast<int32_t>(image),
          static_cast<int32_t>(row),
          static_cast<int32_t>(column),
          row * rows,
          column * kTileColumns,
          first,
          static_cast<int>(channels < kWarp ? channels : kWarp)};
}

// The tiles that the bins of one axis reach, over the lanes of a warp.
struct TileSpan {
  int32_t first, last;
};

__device__ __forceinline__ TileSpan tiles_reached(const BinAxis<double>& kept, bool wide, int64_t length, int64_t bins,
                                                  int size, int lane) {
  int32_t first = INT32_MAX, last = -1;
  for (int64_t bin = lane; bin < bins; bin += kWarp) {
    const BinReach reach = on_axis(kept, wide, [&](const auto& axis) { return reach_of(axis, bin, length); });
    if (reach.bound == 0) continue;
    const int32_t low = static_cast<int32_t>(reach.lowest / size), high = static_cast<int32_t>(reach.highest / size);
    first = low < first ? low : first;
    last = high > last ? high : last;
  }
  return {least_of_warp(first), -least_of_warp(-last)};
}

// Works out every box and the tiles that it reaches: a warp for a box.
static __global__ void __launch_bounds__(kThreads)
    roi_reach_kernel(Pools pools, Maps maps, int tile_rows, RoiScratch scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warps = kThreads / kWarp;
  const int64_t first = int64_t{blockIdx.x} * warps + threadIdx.x / kWarp;
  for (int64_t row = first; row < pools.rois.count; row += int64_t{gridDim.x} * warps) {
    const RoiBox box = box_of(pools, maps.map[0].size[0], row);
    TileSpan y = {0, -1}, x = {0, -1};
    if (box.image >= 0 && box.level >= 0) {
      const View& map = maps.map[box.level];
      y = tiles_reached(box.y, is_wide(pools), map.size[2], pools.rule.height, tile_rows, lane);
      x = tiles_reached(box.x, is_wide(pools), map.size[3], pools.rule.width, kTileColumns, lane);
    }
    if (lane == 0) {
      scratch.boxes[row] = box;
      scratch.reach[row] = {y.first, y.last, x.first, x.last};
    }
  }
}

inline void find_reach(const Pools& pools, const Maps& maps, int tile_rows, const RoiScratch& scratch,
                       cudaStream_t stream) {
  if (pools.rois.count == 0) return;
  launch(&roi_reach_kernel, divide_up(pools.rois.count, kThreads / kWarp), kThreads, 0, stream, pools, maps, tile_rows,
         scratch);
}

// What a block knows of the boxes that reach its tile.
struct Listed {
  int32_t box[kFound];  // those found, counted from where the search began
  int32_t found[kLooksAt * kTileWarps];
  int32_t begin[kBatch][2], end[kBatch][2];  // of the bins of each axis of a batch that may reach the tile
};

// Lists, in their order, the boxes from `begin` on that reach a tile; how many there are.
__device__ __forceinline__ int list_boxes(Listed& listed, const RoiScratch& scratch, int64_t begin, int64_t count,
                                          const Tile& tile) {
  return list_in_order<kLooksAt, kTileWarps>(
      listed.box, listed.found, static_cast<int>(blockDim.x), begin, count, [&](int64_t row) {
        const RoiReach at = scratch.reach[row];
        return at.top <= tile.row && tile.row <= at.bottom && at.left <= tile.column && tile.column <= at.right &&
               scratch.boxes[row].image == tile.image && scratch.boxes[row].level == tile.level;
      });
}

// The pixels of an axis around a tile: a sample that reads one of the tile lies between them.
template <typename T> struct Between {
  T lowest, highest;
};

template <typename T> __device__ __forceinline__ Between<T> around(int64_t begin, int size, int64_t length) {
  const int64_t end = begin + size < length ? begin + size : length;
  return {static_cast<T>(begin - 1), static_cast<T>(end)};
}

// Whether a bin has samples around a tile; it may say so of one that has none.
template <typename T>
__device__ __forceinline__ bool may_reach(const BinAxis<T>& axis, int64_t bin, const Between<T>& place) {
  if (axis.grid == 0) return false;
  const T base = axis.base(bin), a = axis.position(base, 0), b = axis.position(base, axis.grid - 1);
  return (a >= place.lowest || b >= place.lowest) && (a <= place.highest || b <= place.highest);
}

// Finds, for each box of a batch, the bins from the first to the last that may reach the tile: a warp for an axis of a
// box. Begins with a barrier, because other threads may still be at the batch before, and ends with one.
__device__ __forceinline__ void find_bins(Listed& listed, const RoiScratch& scratch, const Pools& pools,
                                          const View& map, const Tile& tile, int rows, int64_t begin, int first,
                                          int count) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  __syncthreads();
  for (int task = thread / kWarp; task < 2 * count; task += warps) {
    const int which = task / 2, axis = task % 2;
    const RoiBox& box = scratch.boxes[begin + listed.box[first + which]];
    const int64_t bins = axis == 0 ? pools.rule.height : pools.rule.width;
    int32_t low = INT32_MAX, high = -1;
    for (int64_t bin = lane; bin < bins; bin += kWarp) {
      const bool hit = on_axis(axis == 0 ? box.y : box.x, is_wide(pools), [&](const auto& of) {
        using T = decltype(of.start + of.bin);
        return may_reach(
            of, bin,
            axis == 0 ? around<T>(tile.top, rows, map.size[2]) : around<T>(tile.left, kTileColumns, map.size[3]));
      });
      if (!hit) continue;
      const int32_t at = static_cast<int32_t>(bin);
      low = at < low ? at : low;
      high = at > high ? at : high;
    }
    low = least_of_warp(low);
    high = -least_of_warp(-high);
    if (lane == 0) {
      listed.begin[which][axis] = high < 0 ? 0 : low;
      listed.end[which][axis] = high + 1;
    }
  }
  __syncthreads();
}

}  // namespace roi_align::cuda
