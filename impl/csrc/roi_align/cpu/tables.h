// The band matrices of all boxes, made once and then used by every channel.
//
// A row of Wy or Wx is a bin: the pixels that its samples read, each with the mean of its weights over the samples. A
// pixel whose weight is 0 is not there, so what it holds cannot leak. Columns are numbered within a box: those that are
// read, and what lies between them where that is little, are runs of a row, and a run is what vectors work on.

#pragma once

#include <cstdint>
#include <vector>

#include "roi_align/cpu/samples.h"
#include "roi_align/kernels.h"
#include "roi_align/taps.h"

namespace roi_align {

// How a map is walked.
enum class RoiPath : int8_t {
  kRows,    // planes, few boxes, or few channels that lie innermost: vectors along the row, then across bins
  kTurned,  // planes, many boxes: blocks of planes are turned into pixels first, then as kPixels
  kPixels,  // many channels, innermost: vectors along the channels
};

// Columns first <= x < first + count of the map are numbered from `at` on.
struct Run {
  int32_t first, count, at;
};

// The bins of one axis: bin i holds taps[ends[i]] up to taps[ends[i + 1]], and slopes likewise if they were asked for.
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
  int64_t row;    // of the list, and so of the output
  int64_t map;    // level * images + image
  int64_t level;  // of a box without a level 0, but there all its bins are empty
  int64_t image;
  BinTable<Acc> y, x;
  const Run* runs;
  int64_t run_count;
  int64_t columns;  // that are numbered
};

// What a few boxes need, in memory of its own, so that threads can make tables side by side.
template <typename Acc> struct TableChunk {
  std::vector<int32_t> ends;
  std::vector<BinTap<Acc>> taps;
  std::vector<BinSlope> slopes;
  std::vector<Run> runs;
};

// The boxes of a call ordered by level and image, then by the band of rows that they begin in, then as they came: what
// is pooled one after the other lies together. Sums over boxes have this order, which only the list decides.
template <typename Acc> struct RoiTables {
  std::vector<RoiTable<Acc>> boxes;
  std::vector<int64_t> buckets;  // boxes[buckets[level * images + image]] is the first of that map
  std::vector<RoiPath> paths;    // of the maps, likewise; set before the tables are filled
  std::vector<TableChunk<Acc>> chunks;
  std::vector<BoxSamples<Acc>> samples;  // of the boxes, for the maximum, which needs no chunks
  int64_t most_columns = 0;
};

constexpr int64_t kBoxesPerChunk = 32;

// Orders the boxes; their tables are made afterwards, chunk by chunk, on any thread.
template <typename Acc>
void order_boxes(const RoiList& rois, const LevelRule& rule, const std::vector<Level>& levels, int64_t images,
                 RoiTables<Acc>* tables);

// Makes the tables of one chunk. `levels` gives sizes and scales; `slopes` says whether BinTable::slopes is wanted.
template <typename Acc>
void fill_chunk(const RoiList& rois, const LevelRule& level_rule, const std::vector<Level>& levels,
                const PoolRule& rule, bool slopes, int64_t chunk, RoiTables<Acc>* tables);

// After all chunks: what the kernels' scratch must hold.
template <typename Acc> void measure_tables(RoiTables<Acc>* tables);

}  // namespace roi_align
