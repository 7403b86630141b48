// The band matrices of all boxes, computed once and then used by every channel.
//
// A row of Wy or Wx is a bin: the pixels that its samples read, each with the mean of its weights over the samples. It
// has no entry for a pixel whose weight is 0, so a NaN there cannot leak. Columns are numbered within a box: the
// columns that are read, and small gaps between them, form runs of a row, and vectors process runs.

#pragma once

#include <cstdint>
#include <vector>

#include "roi_align/cpu/samples.h"
#include "roi_align/kernels.h"
#include "roi_align/taps.h"

namespace roi_align {

// The path by which a kernel walks over a map.
enum class RoiPath : int8_t {
  kRows,    // planes with few boxes, or few channels innermost: vectors along the row, then across bins
  kTurned,  // planes with many boxes: blocks of planes are turned into pixels first, then as kPixels
  kPixels,  // many channels, innermost: vectors along the channels
};

// Columns first <= x < first + count of the map have the numbers from `at` on.
struct Run {
  int32_t first, count, at;
};

// The bins of one axis: bin i has taps[ends[i]] up to taps[ends[i + 1]], and slopes likewise if they were requested.
template <typename Acc> struct BinTable {
  const int32_t* ends;
  const BinTap<Acc>* taps;
  const int32_t* slope_ends;
  const BinSlope* slopes;

  const BinTap<Acc>* begin(int64_t bin) const { return taps + ends[bin]; }
  const BinTap<Acc>* end(int64_t bin) const { return taps + ends[bin + 1]; }
  const BinSlope* slopes_begin(int64_t bin) const { return slopes + slope_ends[bin]; }
  const BinSlope* slopes_end(int64_t bin) const { return slopes + slope_ends[bin + 1]; }
};

template <typename Acc> struct RoiTable {
  int64_t row;    // of the list and of the output
  int64_t map;    // level * images + image
  int64_t level;  // 0 for a box without a level, whose bins are all empty
  int64_t image;
  BinTable<Acc> y, x;
  const Run* runs;
  int64_t run_count;
  int64_t columns;  // the number of columns in all runs
};

// The tables of a few boxes in separate memory, so that threads can fill chunks at the same time.
template <typename Acc> struct TableChunk {
  std::vector<int32_t> ends;
  std::vector<BinTap<Acc>> taps;
  std::vector<BinSlope> slopes;
  std::vector<Run> runs;
};

// The boxes of a call, ordered by level and image, then by the band of rows in which they begin, then by row: boxes
// that are pooled successively are adjacent on the map. Sums over boxes have this order, which depends on the list
// only.
template <typename Acc> struct RoiTables {
  std::vector<RoiTable<Acc>> boxes;
  std::vector<int64_t> buckets;  // boxes[buckets[level * images + image]] is the first of that map
  std::vector<RoiPath> paths;    // of the maps, likewise; set before the tables are filled
  std::vector<TableChunk<Acc>> chunks;
  std::vector<BoxSamples<Acc>> samples;  // of the boxes, for the maximum, which needs no chunks
  int64_t most_columns = 0;
};

constexpr int64_t kBoxesPerChunk = 32;

// Orders the boxes; fill_chunk computes their tables later, chunk by chunk, on any thread.
template <typename Acc>
void order_boxes(const RoiList& rois, const LevelRule& rule, const std::vector<Level>& levels, int64_t images,
                 RoiTables<Acc>* tables);

// Computes the tables of one chunk. `levels` has sizes and scales; `slopes` says whether to fill BinTable::slopes.
template <typename Acc>
void fill_chunk(const RoiList& rois, const LevelRule& level_rule, const std::vector<Level>& levels,
                const PoolRule& rule, bool slopes, int64_t chunk, RoiTables<Acc>* tables);

// After all chunks: computes the sizes of the kernels' scratch memory.
template <typename Acc> void measure_tables(RoiTables<Acc>* tables);

}  // namespace roi_align
