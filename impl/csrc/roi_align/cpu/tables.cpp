// Computes the band matrices of roi_align's boxes. Nothing here reads a pixel.

#include "roi_align/cpu/tables.h"

#include <algorithm>

#include "roi_align/boxes.h"

namespace roi_align {
namespace {

// If vectors lie along rows, gaps of up to this many columns are processed with the runs beside them.
constexpr int32_t kGap = 8;
// On this path the length of a run is a multiple of this if the map is wide enough, so that vectors cover every column.
constexpr int32_t kWhole = 4;

// The taps of one axis, added to a chunk.
template <typename Acc> class Filler {
 public:
  explicit Filler(TableChunk<Acc>* chunk) : chunk_(*chunk) {}

  template <typename T> void fill(const BinAxis<T>& axis, int64_t length, int64_t bins) {
    for (int64_t bin = 0; bin < bins; ++bin) {
      chunk_.ends.push_back(static_cast<int32_t>(chunk_.taps.size() - first_tap_));
      add_taps<Acc>(axis, bin, length, chunk_.taps);
    }
    chunk_.ends.push_back(static_cast<int32_t>(chunk_.taps.size() - first_tap_));
  }

  template <typename T> void fill_slopes(const BinAxis<T>& axis, T scale, int64_t length, int64_t bins) {
    for (int64_t bin = 0; bin < bins; ++bin) {
      chunk_.ends.push_back(static_cast<int32_t>(chunk_.slopes.size() - first_slope_));
      add_slopes(axis, scale, bin, bins, length, chunk_.slopes);
    }
    chunk_.ends.push_back(static_cast<int32_t>(chunk_.slopes.size() - first_slope_));
  }

  void begin_axis() {
    first_tap_ = chunk_.taps.size();
    first_slope_ = chunk_.slopes.size();
  }

  // Numbers the columns of the last axis that was filled.
  int64_t number_columns(bool rows, int32_t width) {
    const int32_t gap = rows ? kGap : 1, whole_run = rows ? kWhole : 1;
    const size_t first_run = chunk_.runs.size();
    run_of_.clear();
    // A column extends the run that it is in or next to: usually the last run, but an earlier one when slopes come
    // after taps.
    const auto visit = [&](int32_t column) {
      for (size_t r = chunk_.runs.size(); r > first_run; --r) {
        Run& run = chunk_.runs[r - 1];
        if (column < run.first - gap || column >= run.first + run.count + gap) continue;
        const int32_t low = std::min(run.first, column), end = std::max(run.first + run.count, column + 1);
        run.first = low;
        run.count = end - low;
        run_of_.push_back(static_cast<int32_t>(r) - 1);
        return;
      }
      run_of_.push_back(static_cast<int32_t>(chunk_.runs.size()));
      chunk_.runs.push_back({column, 1, 0});
    };
    for (size_t k = first_tap_; k < chunk_.taps.size(); ++k) visit(chunk_.taps[k].at);
    for (size_t k = first_slope_; k < chunk_.slopes.size(); ++k) visit(chunk_.slopes[k].at);
    int32_t columns = 0;
    for (size_t r = first_run; r < chunk_.runs.size(); ++r) {
      Run& run = chunk_.runs[r];
      const int32_t wide = (run.count + whole_run - 1) / whole_run * whole_run;
      if (wide <= width) {
        run.first = std::min(run.first, width - wide);
        run.count = wide;
      }
      run.at = columns;
      columns += run.count;
    }
    size_t next = 0;
    const auto number = [&](int32_t& at) {
      const Run& run = chunk_.runs[static_cast<size_t>(run_of_[next++])];
      at = at - run.first + run.at;
    };
    for (size_t k = first_tap_; k < chunk_.taps.size(); ++k) number(chunk_.taps[k].at);
    for (size_t k = first_slope_; k < chunk_.slopes.size(); ++k) number(chunk_.slopes[k].at);
    return columns;
  }

 private:
  TableChunk<Acc>& chunk_;
  std::vector<int32_t> run_of_;
  size_t first_tap_ = 0, first_slope_ = 0;
};

// The offsets of a box's tables in its chunk, until the chunk is complete and pointers into it are stable.
struct Offsets {
  size_t ends[4];
  size_t taps[2];
  size_t slopes[2];
  size_t runs;
};

template <typename T, typename Acc>
void fill_chunk_from(const RoiList& rois, const LevelRule& level_rule, const std::vector<Level>& levels,
                     const PoolRule& rule, bool slopes, int64_t chunk_index, RoiTables<Acc>* tables) {
  TableChunk<Acc>& chunk = tables->chunks[static_cast<size_t>(chunk_index)];
  const int64_t first = chunk_index * kBoxesPerChunk;
  const int64_t last = std::min(first + kBoxesPerChunk, static_cast<int64_t>(tables->boxes.size()));
  Filler<Acc> filler(&chunk);
  Offsets offsets[kBoxesPerChunk];
  for (int64_t k = first; k < last; ++k) {
    RoiTable<Acc>& box = tables->boxes[static_cast<size_t>(k)];
    Offsets& at = offsets[k - first];
    const Level& level = levels[static_cast<size_t>(box.level)];
    // The box gradient has channels as lanes on every path.
    const bool rows = !slopes && tables->paths[static_cast<size_t>(box.map)] == RoiPath::kRows;
    const bool has_level = roi_level(rois, box.row, level_rule) >= 0;
    for (const int64_t along : {0, 1}) {  // y, x
      const int64_t bins = along == 0 ? rule.height : rule.width, length = level.map.size[2 + along];
      const T scale = static_cast<T>(level.scale);
      BinAxis<T> axis = roi_axis<T>(rois, box.row, along == 0, level.scale, rule);
      if (!has_level) axis.grid = 0;
      filler.begin_axis();
      at.ends[2 * along] = chunk.ends.size();
      at.taps[along] = chunk.taps.size();
      at.slopes[along] = chunk.slopes.size();
      filler.fill(axis, length, bins);
      at.ends[2 * along + 1] = chunk.ends.size();
      if (slopes) filler.fill_slopes(axis, scale, length, bins);
      at.runs = chunk.runs.size();
      if (along == 1) box.columns = filler.number_columns(rows, static_cast<int32_t>(length));
    }
    box.run_count = static_cast<int64_t>(chunk.runs.size() - at.runs);
  }
  for (int64_t k = first; k < last; ++k) {
    RoiTable<Acc>& box = tables->boxes[static_cast<size_t>(k)];
    const Offsets& at = offsets[k - first];
    const auto table = [&](int64_t along) -> BinTable<Acc> {
      return {chunk.ends.data() + at.ends[2 * along], chunk.taps.data() + at.taps[along],
              chunk.ends.data() + at.ends[2 * along + 1], chunk.slopes.data() + at.slopes[along]};
    };
    box.y = table(0);
    box.x = table(1);
    box.runs = chunk.runs.data() + at.runs;
  }
}

// Bands of rows of a map: boxes that begin in the same band are pooled successively, and share its pixels in a cache.
constexpr int64_t kBands = 32;

int64_t band_of(const RoiList& rois, int64_t row, const Level& level) {
  const double y = rois.dtype == DType::kFloat64 ? roi_value<double>(rois, row, 2)
                                                 : static_cast<double>(roi_value<float>(rois, row, 2));
  const double band = y * level.scale * static_cast<double>(kBands) / static_cast<double>(level.map.size[2]);
  return band > 0 ? static_cast<int64_t>(std::min(band, static_cast<double>(kBands - 1))) : 0;  // NaN goes into band 0
}

}  // namespace

template <typename Acc>
void order_boxes(const RoiList& rois, const LevelRule& rule, const std::vector<Level>& levels, int64_t images,
                 RoiTables<Acc>* tables) {
  const int64_t maps = rule.count * images;
  std::vector<int64_t> key_of(static_cast<size_t>(rois.count)), starts(static_cast<size_t>(maps * kBands + 1), 0);
  for (int64_t row = 0; row < rois.count; ++row) {
    const int64_t level = std::max<int64_t>(0, roi_level(rois, row, rule));
    const int64_t key =
        (level * images + roi_image(rois, row)) * kBands + band_of(rois, row, levels[static_cast<size_t>(level)]);
    key_of[static_cast<size_t>(row)] = key;
    ++starts[static_cast<size_t>(key + 1)];
  }
  for (size_t k = 1; k < starts.size(); ++k) starts[k] += starts[k - 1];
  for (int64_t map = 0; map <= maps; ++map) tables->buckets.push_back(starts[static_cast<size_t>(map * kBands)]);
  tables->boxes.resize(static_cast<size_t>(rois.count));
  for (int64_t row = 0; row < rois.count; ++row) {
    const int64_t key = key_of[static_cast<size_t>(row)];
    RoiTable<Acc>& box = tables->boxes[static_cast<size_t>(starts[static_cast<size_t>(key)]++)];
    box.row = row;
    box.map = key / kBands;
    box.level = key / kBands / images;
    box.image = key / kBands % images;
  }
  tables->chunks.resize(static_cast<size_t>(divide_up(rois.count, kBoxesPerChunk)));
}

template <typename Acc>
void fill_chunk(const RoiList& rois, const LevelRule& level_rule, const std::vector<Level>& levels,
                const PoolRule& rule, bool slopes, int64_t chunk, RoiTables<Acc>* tables) {
  with_float(rois.dtype, [&](auto type) {
    fill_chunk_from<decltype(type)>(rois, level_rule, levels, rule, slopes, chunk, tables);
  });
}

template <typename Acc> void measure_tables(RoiTables<Acc>* tables) {
  for (const RoiTable<Acc>& box : tables->boxes) tables->most_columns = std::max(tables->most_columns, box.columns);
}

#define ROI_ALIGN_TABLES(Acc)                                                                                       \
  template void order_boxes<Acc>(const RoiList&, const LevelRule&, const std::vector<Level>&, int64_t,              \
                                 RoiTables<Acc>*);                                                                  \
  template void fill_chunk<Acc>(const RoiList&, const LevelRule&, const std::vector<Level>&, const PoolRule&, bool, \
                                int64_t, RoiTables<Acc>*);                                                          \
  template void measure_tables<Acc>(RoiTables<Acc>*);
ROI_ALIGN_TABLES(float)
ROI_ALIGN_TABLES(double)
#undef ROI_ALIGN_TABLES

}  // namespace roi_align
