// Where the samples of roi_align sit, what each reads, and which level of a pyramid a box is pooled from:
// docs/operators.md, "roi_align", says why.
//
// These lines decide the bits. Edges become positions in torchvision's order, every operation rounded on its own, in
// the dtype of the boxes and at least in float32; so on the CPU the samples are torchvision's to the last bit, and so
// is the branch that is taken where the rule jumps: at -1 and L, and at an adaptive grid's whole sizes. Host and device
// share these lines; the build switches contraction to fused multiply-add off.

#pragma once

#include <cmath>
#include <cstdint>

#include "common/tap.h"

namespace roi_align {

enum class Pooling : int64_t { kAverage = 0, kMaximum = 1 };

// What every box is pooled to. A sampling_ratio of 0 or less asks for an adaptive grid.
struct PoolRule {
  int64_t height;
  int64_t width;
  int64_t sampling_ratio;
  bool aligned;
};

// One axis of a box: `grid` samples in each of its bins.
template <typename T> struct BinAxis {
  T start;
  T bin;
  int64_t grid;
  bool stretched;  // shorter than a pixel, and taken as one pixel: the second edge then moves nothing

  // A bin's own start, and sample i of the bin.
  ROI_ALIGN_HOST_DEVICE T base(int64_t index) const { return start + static_cast<T>(index) * bin; }
  ROI_ALIGN_HOST_DEVICE T position(T base, int64_t i) const {
    return base + (static_cast<T>(i) + T(0.5)) * bin / static_cast<T>(grid);
  }
};

template <typename T>
ROI_ALIGN_HOST_DEVICE BinAxis<T> bin_axis(T a1, T a2, T scale, const PoolRule& rule, int64_t bins) {
  const T offset = rule.aligned ? T(0.5) : T(0);
  const T start = a1 * scale - offset, end = a2 * scale - offset;
  T size = end - start;  // not (a2 - a1) * scale: that is rounded elsewhere and would give other grids
  const bool stretched = !rule.aligned && size < T(1);
  if (stretched) size = T(1);
  const T bin = size / static_cast<T>(bins);
  if (rule.sampling_ratio > 0) return {start, bin, rule.sampling_ratio, stretched};
  // An inverted or empty box has no samples, and neither has one whose samples no int32 can count, or a NaN.
  if (!(bin > T(0) && bin < T(2147483647))) return {start, bin, 0, stretched};
  const int64_t whole = static_cast<int64_t>(bin);
  return {start, bin, whole + (bin > static_cast<T>(whole)), stretched};
}

// The samples of a bin from one position to another, begin <= i < end: positions are monotonic, so they are neighbours.
// A grid may have billions of samples, of which few are wanted; they are searched for, not tried.
struct SampleSpan {
  int64_t begin, end;
};

template <typename T>
ROI_ALIGN_HOST_DEVICE SampleSpan samples_between(const BinAxis<T>& axis, T base, T lowest, T highest) {
  if (axis.grid == 0 || !(base - base == T(0))) return {0, 0};  // an infinite base leads nowhere, nor does a NaN
  const auto inside = [&](T position) { return position >= lowest && position <= highest; };
  if (inside(axis.position(base, 0)) && inside(axis.position(base, axis.grid - 1))) return {0, axis.grid};
  const bool falling = axis.bin < T(0);
  // The first sample that is not before `border`, or past it if `beyond`, on the way from the first to the last.
  const auto search = [&](T border, bool beyond) {
    int64_t low = 0, high = axis.grid;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const T position = falling ? -axis.position(base, middle) : axis.position(base, middle);
      if (position < border || (beyond && position == border)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  const int64_t begin = search(falling ? -highest : lowest, false), end = search(falling ? -lowest : highest, true);
  if (!(axis.bin == axis.bin) || end <= begin) return {0, 0};
  return {begin, end};
}

// Those in reach. Outside a sample adds 0 and still counts; NaN is outside.
template <typename T>
ROI_ALIGN_HOST_DEVICE SampleSpan samples_in_reach(const BinAxis<T>& axis, T base, int64_t length) {
  return samples_between(axis, base, T(-1), static_cast<T>(length));
}

// What a sample in reach reads: in the bands beside the image the edge pixel, and from the last pixel on that one
// alone. A pixel whose weight is 0 is not read: what remains is then one pixel, of weight 1.
template <typename Acc, typename T> ROI_ALIGN_HOST_DEVICE Tap<Acc> edge_tap(T position, int64_t length) {
  if (position <= T(0)) return {0, 0, Acc(0)};
  const int64_t low = static_cast<int64_t>(position);
  if (low >= length - 1) return {length - 1, length - 1, Acc(0)};
  const Acc weight = static_cast<Acc>(position - static_cast<T>(low));
  if (weight == Acc(0)) return {low, low, Acc(0)};
  if (weight == Acc(1)) return {low + 1, low + 1, Acc(0)};  // a double just below it, in float
  return {low, low + 1, weight};
}

// How far sample i of a bin moves, in pixels of the map, when an edge of the box moves by one unit of that edge.
template <typename T>
ROI_ALIGN_HOST_DEVICE EdgeSlopes bin_slopes(const BinAxis<T>& axis, T scale_used, int64_t index, int64_t i,
                                            int64_t bins) {
  const double scale = static_cast<double>(scale_used);
  if (axis.stretched) return {scale, 0.0};
  const double share = (static_cast<double>(index) + (static_cast<double>(i) + 0.5) / static_cast<double>(axis.grid)) /
                       static_cast<double>(bins);
  return {scale * (1.0 - share), scale * share};
}

// The levels of `count` maps: the first map's is the one of scale 2^-first, the last map's that of 2^-last. They need
// not follow each other: maps may share a level, and a level may have no map. A box of canonical_scale squared belongs
// to canonical_level, one of twice the side to the level after it.
struct LevelRule {
  int64_t first;
  int64_t last;
  int64_t count;
  double canonical_scale;
  int64_t canonical_level;
};

inline LevelRule level_rule(int64_t first, const double* scales, int64_t count, double canonical_scale,
                            int64_t canonical_level) {
  return {first, first + std::ilogb(scales[0] / scales[count - 1]), count, canonical_scale, canonical_level};
}

// The map of a box, or -1 if it has none. It is counted from the first level, whatever the maps' own levels are: where
// two share one, the last map is never read, and where one is left out, the maps end before the levels do. A box has no
// level if one side is inverted and the area is negative, or if it is NaN. In torchvision's order, its 1e-6 included;
// the logarithm is rounded once, as nobody's float32 one is for sure.
template <typename T> ROI_ALIGN_HOST_DEVICE int64_t level_of(const LevelRule& rule, T x1, T y1, T x2, T y2) {
  if (rule.count == 1) return 0;
  const T side = static_cast<T>(sqrt((x2 - x1) * (y2 - y1)));
  const T octaves = static_cast<T>(log2(static_cast<double>(side / static_cast<T>(rule.canonical_scale))));
  const T level = static_cast<T>(rule.canonical_level) + octaves + static_cast<T>(1e-6);
  if (!(level == level)) return -1;
  if (!(level >= static_cast<T>(rule.first + 1))) return 0;
  const bool beyond = level >= static_cast<T>(rule.last);
  const int64_t map = (beyond ? rule.last : static_cast<int64_t>(floor(level))) - rule.first;
  return map >= 0 && map < rule.count ? map : -1;
}

}  // namespace roi_align
