// The samples of a box's bins, for the maximum on the CPU: on each axis those in reach, with the pixels that they read.
// They are computed once per call and read by every block of channels.

#pragma once

#include <algorithm>
#include <vector>

#include "common/view.h"
#include "roi_align/boxes.h"
#include "roi_align/kernels.h"

namespace roi_align {

// The numbers of the two pixels between which a sample moves with the edges of its box, and how it moves. At a pixel,
// and in the bands beside the image, it does not move on this axis: both are one pixel.
struct SampleMove {
  int64_t low, high;
  EdgeSlopes slopes;
};

// The samples of a bin on one axis that are in reach: `count` of them, after `before` and before `after` ones that are
// not. `first` is the place of the first one among the axis's samples in reach. Successive samples between the same two
// pixels are a cell; `ends` has, for each sample, the place in the bin after the last one of its cell.
template <typename Acc> struct BinSamples {
  const Tap<Acc>* taps;
  const int64_t* ends;
  int64_t first, count, before, after;
};

// The samples of one axis of a box. Their pixels have numbers, in the order in which the samples read them; `pixels`
// lists the pixels by number, each once.
template <typename Acc> class AxisSamples {
 public:
  std::vector<int64_t> pixels;
  std::vector<SampleMove> moves;  // of all samples in reach, if they were requested

  template <typename T> void fill(const BinAxis<T>& axis, T scale, int64_t length, int64_t bins, bool has_moves) {
    clear(axis.grid);
    for (int64_t bin = 0; bin < bins; ++bin) {
      const T base = axis.base(bin);
      const SampleSpan span = samples_in_reach(axis, base, length);
      spans_.push_back(span);
      const size_t start = taps_.size();
      starts_.push_back(start);
      for (int64_t i = span.begin; i < span.end; ++i) {
        const T position = axis.position(base, i);
        const Tap<Acc> tap = edge_tap<Acc>(position, length);
        taps_.push_back({number_of(tap.low), number_of(tap.high), tap.weight});
        if (!has_moves) continue;
        // The position, not the weight, decides whether a sample lies between two pixels: a weight may be rounded to 0
        // or 1.
        const Tap<T> sides = edge_tap<T>(position, length);
        moves.push_back({number_of(sides.low), number_of(sides.high), bin_slopes(axis, scale, bin, i, bins)});
      }
      add_ends(start);
    }
  }

  // Fills bins without samples.
  void fill_none(int64_t bins) {
    clear(0);
    spans_.assign(static_cast<size_t>(bins), SampleSpan{0, 0});
    starts_.assign(static_cast<size_t>(bins), 0);
  }

  BinSamples<Acc> of(int64_t bin) const {
    const SampleSpan span = spans_[static_cast<size_t>(bin)];
    const size_t start = starts_[static_cast<size_t>(bin)];
    return {taps_.data() + start,  ends_.data() + start, static_cast<int64_t>(start),
            span.end - span.begin, span.begin,           grid_ - span.end};
  }

 private:
  void clear(int64_t grid) {
    grid_ = grid;
    pixels.clear();
    spans_.clear();
    starts_.clear();
    taps_.clear();
    ends_.clear();
    moves.clear();
  }

  // Adds the ends of the cells of a bin, whose samples begin at `start`.
  void add_ends(size_t start) {
    const size_t end = taps_.size();
    ends_.resize(end);
    for (size_t i = end; i-- > start;) {
      const bool continues = i + 1 < end && in_one_cell(i, i + 1);
      ends_[i] = continues ? ends_[i + 1] : static_cast<int64_t>(i + 1 - start);
    }
  }

  bool in_one_cell(size_t i, size_t j) const {
    const auto same = [](const auto& one, const auto& other) { return one.low == other.low && one.high == other.high; };
    return same(taps_[i], taps_[j]) && (moves.empty() || same(moves[i], moves[j]));
  }

  // Positions are monotonic, but for rounding where bins meet: a pixel is among the last ones, or beyond all others.
  int64_t number_of(int64_t pixel) {
    const int64_t count = static_cast<int64_t>(pixels.size());
    const bool is_beyond = count == 0 || pixel > highest_ || pixel < lowest_;
    for (int64_t k = is_beyond ? 0 : count; k > 0; --k) {
      if (pixels[static_cast<size_t>(k - 1)] == pixel) return k - 1;
    }
    lowest_ = count == 0 ? pixel : std::min(lowest_, pixel);
    highest_ = count == 0 ? pixel : std::max(highest_, pixel);
    pixels.push_back(pixel);
    return count;
  }

  int64_t grid_ = 0, lowest_ = 0, highest_ = 0;
  std::vector<SampleSpan> spans_;
  std::vector<size_t> starts_;
  std::vector<Tap<Acc>> taps_;
  std::vector<int64_t> ends_;
};

template <typename Acc> struct BoxSamples {
  AxisSamples<Acc> y, x;

  void fill(const RoiList& rois, int64_t row, const LevelRule& level_rule, const Level& level, const PoolRule& rule,
            bool has_moves) {
    if (roi_level(rois, row, level_rule) < 0) {
      y.fill_none(rule.height);
      x.fill_none(rule.width);
      return;
    }
    with_float(rois.dtype, [&](auto edge) {
      using T = decltype(edge);
      const T scale = static_cast<T>(level.scale);
      y.fill(roi_axis<T>(rois, row, true, level.scale, rule), scale, level.map.size[2], rule.height, has_moves);
      x.fill(roi_axis<T>(rois, row, false, level.scale, rule), scale, level.map.size[3], rule.width, has_moves);
    });
  }
};

}  // namespace roi_align
