// Which samples of a box its bins take, for the maximum on the CPU: on each axis those in reach, with what they read.
// They are worked out once a call and read by every block of channels.

#pragma once

#include <vector>

#include "common/view.h"
#include "roi_align/boxes.h"
#include "roi_align/kernels.h"

namespace roi_align {

// The samples of a bin on one axis, as largest.h asks for them.
template <typename Acc> struct BinSamples {
  SampleSpan span;
  const Tap<Acc>* taps;  // of those in reach
  int64_t grid;

  template <typename> const Tap<Acc>& tap(int64_t i) const { return taps[i - span.begin]; }
  bool none() const { return span.begin >= span.end; }
  bool before() const { return span.begin > 0; }
  bool after() const { return span.end < grid; }
};

// The samples of one axis of a box: those of bin i that are in reach begin at taps[starts[i]].
template <typename Acc> class AxisSamples {
 public:
  template <typename T> void fill(const BinAxis<T>& axis, int64_t length, int64_t bins) {
    grid_ = axis.grid;
    spans_.clear();
    starts_.clear();
    taps_.clear();
    for (int64_t bin = 0; bin < bins; ++bin) {
      const T base = axis.base(bin);
      const SampleSpan span = samples_in_reach(axis, base, length);
      spans_.push_back(span);
      starts_.push_back(taps_.size());
      for (int64_t i = span.begin; i < span.end; ++i) taps_.push_back(edge_tap<Acc>(axis.position(base, i), length));
    }
  }

  // Bins without samples.
  void fill_none(int64_t bins) {
    grid_ = 0;
    spans_.assign(static_cast<size_t>(bins), SampleSpan{0, 0});
    starts_.assign(static_cast<size_t>(bins), 0);
    taps_.clear();
  }

  BinSamples<Acc> of(int64_t bin) const {
    return {spans_[static_cast<size_t>(bin)], taps_.data() + starts_[static_cast<size_t>(bin)], grid_};
  }
  const Tap<Acc>& tap(int64_t bin, int64_t i) const { return of(bin).template tap<Acc>(i); }

  // Numbers the pixels that are read in the order in which samples come to them, lists them in `pixels`, and lets taps
  // name their numbers. Neighbouring samples share pixels: positions are monotonic.
  void number(std::vector<int64_t>* pixels) {
    pixels->clear();
    const auto number_of = [&](int64_t pixel) {
      const int64_t count = static_cast<int64_t>(pixels->size());
      for (int64_t k = count; k > 0 && k > count - 3; --k) {
        if ((*pixels)[static_cast<size_t>(k - 1)] == pixel) return k - 1;
      }
      pixels->push_back(pixel);
      return count;
    };
    for (Tap<Acc>& tap : taps_) {
      const int64_t low = number_of(tap.low);
      tap.high = tap.high == tap.low ? low : number_of(tap.high);
      tap.low = low;
    }
  }

 private:
  int64_t grid_ = 0;
  std::vector<SampleSpan> spans_;
  std::vector<size_t> starts_;
  std::vector<Tap<Acc>> taps_;
};

// `numbered` is x with columns by their numbers, as `columns` lists them.
template <typename Acc> struct BoxSamples {
  AxisSamples<Acc> y, x, numbered;
  std::vector<int64_t> columns;

  void fill(const RoiList& rois, int64_t row, const LevelRule& level_rule, const Level& level, const PoolRule& rule) {
    if (roi_level(rois, row, level_rule) < 0) {
      y.fill_none(rule.height);
      x.fill_none(rule.width);
    } else {
      with_float(rois.dtype, [&](auto edge) {
        using T = decltype(edge);
        y.fill(roi_axis<T>(rois, row, true, level.scale, rule), level.map.size[2], rule.height);
        x.fill(roi_axis<T>(rois, row, false, level.scale, rule), level.map.size[3], rule.width);
      });
    }
    numbered = x;
    numbered.number(&columns);
  }
};

}  // namespace roi_align
