// Gathering a gradient tile by tile, for the mean and for the maximum: which boxes reach a tile, and with which bins.
//
// A block owns a tile of one map and goes through the boxes that reach it in the order of the list. So the order of a
// pixel's sum is the list's, then the bins', however the work is cut, and nothing else writes there. Boxes are found by
// bits (cuda/bits.h). Levels share the vectors of rows and of columns; an image of each level has a vector of its own.

#pragma once

#include "cuda/bits.h"
#include "cuda/list.h"
#include "cuda/stage.h"
#include "roi_align/cuda/bins.h"

namespace roi_align::cuda {

// Warps of a block, each with the same tile in 32 channels of its own.
constexpr int kTileWarps = 4;
constexpr int kTileThreads = kTileWarps * kWarp;

// Memory beside the gradient, for all boxes.
struct RoiScratch {
  RoiBox* boxes;
  BoxBits bits;
};

inline RoiScratch roi_scratch_at(void* memory, const Maps& maps, int64_t boxes, int high, int wide) {
  RoiBox* const first = static_cast<RoiBox*>(memory);
  BoxBits bits = {reinterpret_cast<uint32_t*>(first + boxes), divide_up(boxes, kBitsOfWord), 0, 0,
                  maps.levels * maps.map[0].size[0]};
  for (int64_t level = 0; level < maps.levels; ++level) {
    const int64_t rows = divide_up(maps.map[level].size[2], high), columns = divide_up(maps.map[level].size[3], wide);
    bits.rows = rows > bits.rows ? rows : bits.rows;
    bits.columns = columns > bits.columns ? columns : bits.columns;
  }
  return {first, bits};
}

// Of the smallest tiles, which have the most bits.
inline int64_t roi_scratch_bytes(const Maps& maps, int64_t boxes) {
  const BoxBits bits = roi_scratch_at(nullptr, maps, boxes, kSmallTile, kSmallTile).bits;
  return boxes * static_cast<int64_t>(sizeof(RoiBox)) +
         bits.words * (bits.rows + bits.columns + bits.images) * static_cast<int64_t>(sizeof(uint32_t));
}

// The tiles of all levels, one after another, and each in parts of its channels.
struct Tiles {
  int64_t first[kMostLevels + 1];  // tile of a level
  int64_t high[kMostLevels], wide[kMostLevels];
  int64_t parts;
  int64_t units;
  int threads;
};

inline Tiles plan_tiles(const Maps& maps, int high, int wide) {
  Tiles tiles = {};
  const int64_t warps = divide_up(maps.map[0].size[1], kWarp);
  const int together = static_cast<int>(warps < kTileWarps ? warps : kTileWarps);
  for (int64_t level = 0; level < maps.levels; ++level) {
    const View& map = maps.map[level];
    tiles.high[level] = divide_up(map.size[2], high);
    tiles.wide[level] = divide_up(map.size[3], wide);
    tiles.first[level + 1] = tiles.first[level] + map.size[0] * tiles.high[level] * tiles.wide[level];
  }
  tiles.parts = divide_up(warps, together);
  tiles.units = tiles.first[maps.levels] * tiles.parts;
  tiles.threads = together * kWarp;
  return tiles;
}

// A tile of one map, where a block works.
struct Tile {
  int64_t level, image;
  int64_t vector;       // of bits, of the image of this level
  int64_t row, column;  // among the tiles of the map
  int64_t top, left;    // in pixels
  int64_t first_channel;
};

template <int high, int wide>
__device__ __forceinline__ Tile tile_of(const Tiles& tiles, const Maps& maps, int64_t unit) {
  const int64_t tile = divide(unit, tiles.parts), part = unit - tile * tiles.parts;
  int64_t level = 0;
  while (tile >= tiles.first[level + 1]) ++level;
  const int64_t in_level = tile - tiles.first[level];
  const int64_t line = divide(in_level, tiles.wide[level]), image = divide(line, tiles.high[level]);
  const int64_t row = line - image * tiles.high[level], column = in_level - line * tiles.wide[level];
  return {level, image, level * maps.map[0].size[0] + image, row, column, row * high, column * wide, part * blockDim.x};
}

// The channels of a warp, at most one for each lane; none or fewer if it has nothing to do.
struct Channels {
  int64_t first;
  int count;
};

__device__ __forceinline__ Channels channels_of(const Tile& tile, const View& map) {
  const int64_t first = tile.first_channel + threadIdx.x / kWarp * kWarp, more = map.size[1] - first;
  return {first, static_cast<int>(more < kWarp ? more : kWarp)};
}

// Bins of an axis that are taken together, as many as shared memory has room for the weights of: the first so many, the
// next, and so on, whichever of them reach a tile. So the order of a sum does not depend on where tiles are cut.
constexpr int kBinsTogether = 16;

// The bins begin <= i < end of an axis.
struct Bins {
  int32_t begin, end;

  // In how many steps they are taken, and those of one step.
  __device__ __forceinline__ int32_t steps() const { return (end - 1) / kBinsTogether - begin / kBinsTogether + 1; }
  __device__ __forceinline__ Bins step(int32_t k) const {
    const int32_t first = (begin / kBinsTogether + k) * kBinsTogether, last = first + kBinsTogether;
    return {first > begin ? first : begin, last < end ? last : end};
  }
};

// The bins that have a sample at `lowest` or beyond and one at `highest` or before. From bin to bin, samples of one
// place in their bins run one way, so these bins are neighbours, and are found by halving.
template <typename T>
__device__ __forceinline__ Bins bins_between(const BinAxis<T>& axis, int32_t bins, T lowest, T highest) {
  if (axis.grid == 0) return {0, 0};
  const bool falls = axis.bin < T(0);
  const int32_t begin = first_that(0, bins, [&](int32_t bin) {
    const T last = axis.position(axis.base(bin), axis.grid - 1);
    return falls ? last <= highest : last >= lowest;
  });
  const int32_t end = first_that(begin, bins, [&](int32_t bin) {
    const T first = axis.position(axis.base(bin), 0);
    return falls ? first < lowest : first > highest;
  });
  return {begin, end};
}

// The tiles that the samples of an axis reach.
template <typename T>
__device__ __forceinline__ Span span_of(const BinAxis<T>& axis, int32_t bins, int64_t length, int tile) {
  const Bins inside = bins_between(axis, bins, T(-1), static_cast<T>(length));
  int64_t lowest = INT32_MAX, highest = -1;
  // The outermost two at either end: rounding may have put a bin's last sample before the next one's first.
#pragma unroll 1
  for (int32_t k = 0; k < 4; ++k) {
    const int32_t bin = k < 2 ? inside.begin + k : inside.end + 1 - k;
    if (bin < inside.begin || bin >= inside.end) continue;
    const BinReach reach = reach_of(axis, bin, length);
    lowest = reach.lowest < lowest ? reach.lowest : lowest;
    highest = reach.highest > highest ? reach.highest : highest;
  }
  if (highest < 0) return {0, -1};
  return {divide(lowest, tile), divide(highest, tile)};
}

// Works out every box and its bits: a warp for 32 boxes, and for a section of the vectors.
static __global__ void __launch_bounds__(kTileThreads)
    roi_reach_kernel(Pools pools, Maps maps, int high, int wide, int64_t sections, RoiScratch scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t images = maps.map[0].size[0];
  for (int64_t unit = int64_t{blockIdx.x} * kTileWarps + warp; unit < scratch.bits.words * sections;
       unit += int64_t{gridDim.x} * kTileWarps) {
    const int64_t word = divide(unit, sections), section = unit - word * sections, row = word * kBitsOfWord + lane;
    Span rows = {0, -1}, columns = {0, -1};
    int64_t image = -1;
    if (row < pools.rois.count) {
      const RoiBox box = box_of(pools, images, row);
      if (section == 0) scratch.boxes[row] = box;
      if (box.image >= 0 && box.level >= 0) {
        const View& map = maps.map[box.level];
        image = box.level * images + box.image;
        rows = on_axis(box.y, is_wide(pools), [&](const auto& axis) {
          return span_of(axis, static_cast<int32_t>(pools.rule.height), map.size[2], high);
        });
        columns = on_axis(box.x, is_wide(pools), [&](const auto& axis) {
          return span_of(axis, static_cast<int32_t>(pools.rule.width), map.size[3], wide);
        });
      }
    }
    write_bits(scratch.bits, word, section, rows, columns, image);
  }
}

inline void find_reach(const Pools& pools, const Maps& maps, int high, int wide, const RoiScratch& scratch,
                       cudaStream_t stream) {
  if (pools.rois.count == 0) return;
  const int64_t sections = sections_of(scratch.bits);
  launch(&roi_reach_kernel, divide_up(scratch.bits.words * sections, kTileWarps), kTileThreads, 0, stream, pools, maps,
         high, wide, sections, scratch);
}

// The pixels of an axis around a tile: a sample that reads one of the tile lies between them.
template <typename T> struct Between {
  T lowest, highest;
};

template <typename T> __device__ __forceinline__ Between<T> around(int64_t begin, int size, int64_t length) {
  const int64_t end = begin + size < length ? begin + size : length;
  return {static_cast<T>(begin - 1), static_cast<T>(end)};
}

// The bins that have samples around a tile; of neighbouring bins one may have none.
template <typename T>
__device__ __forceinline__ Bins bins_around(const BinAxis<T>& axis, int32_t bins, const Between<T>& place) {
  const Bins some = bins_between(axis, bins, place.lowest, place.highest);
  if (some.end - some.begin != 1) return some;  // a sample of the one or of the next lies between
  const SampleSpan span = samples_between(axis, axis.base(some.begin), place.lowest, place.highest);
  return span.begin < span.end ? some : Bins{0, 0};
}

// A box that reaches the tile, and the bins that do so.
struct Entry {
  int64_t row;
  Bins y, x;
};

// What a block knows of its tile and of the boxes that reach it.
struct Listed {
  Tile tile;
  int32_t counts[kTileWarps];
  Candidates own[kTileThreads];
  int32_t candidates[kTileThreads];
  Entry entries[kTileThreads];
  int32_t with_bins[kTileThreads];  // places among the entries
  int32_t many[kTileWarps];         // whether one of a warp's entries takes more than one step

  __device__ __forceinline__ const Entry& entry(int which) const { return entries[with_bins[which]]; }
};

// Calls work(count) with the boxes that reach a tile, some at a time and in their order: `listed` has
// `count` entries then. Boxes that are listed but have no sample around the tile are left out. All threads of a block
// call.
template <int high, int wide, typename Work>
__device__ __forceinline__ void for_each_listing(Listed& listed, const RoiScratch& scratch, const Pools& pools,
                                                 const View& map, const Work& work) {
  // The tile and a thread's own candidates are read from shared memory whenever they are needed: registers hold sums.
  const Tile& tile = listed.tile;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int64_t word = 0; word < scratch.bits.words; word += threads) {
    int total = 0;
    listed.own[thread] = find_candidates(scratch.bits, word, tile.row, tile.column, tile.vector, listed.counts, total);
    for (int done = 0; done < total; done += threads) {
      list_candidates(listed.own[thread], done, listed.candidates);
      __syncthreads();
      const int count = total - done < threads ? total - done : threads;
      Entry entry = {0, {0, 0}, {0, 0}};
      if (thread < count) {
        entry.row = word * kBitsOfWord + listed.candidates[thread];
        const RoiBox& box = scratch.boxes[entry.row];
        entry.y = on_axis(box.y, is_wide(pools), [&](const auto& axis) {
          using T = decltype(axis.start + axis.bin);
          return bins_around(axis, static_cast<int32_t>(pools.rule.height), around<T>(tile.top, high, map.size[2]));
        });
        entry.x = on_axis(box.x, is_wide(pools), [&](const auto& axis) {
          using T = decltype(axis.start + axis.bin);
          return bins_around(axis, static_cast<int32_t>(pools.rule.width), around<T>(tile.left, wide, map.size[3]));
        });
      }
      listed.entries[thread] = entry;
      const bool reaches = entry.y.end > entry.y.begin && entry.x.end > entry.x.begin;
      const bool many = __any_sync(kAllLanes, reaches && (entry.y.steps() > 1 || entry.x.steps() > 1));
      if (thread % kWarp == 0) listed.many[thread / kWarp] = many;
      work(list_in_order<1, kTileWarps>(listed.with_bins, listed.counts, threads, 0, count,
                                        [&](int64_t) { return reaches; }));
    }
  }
}

}  // namespace roi_align::cuda
