// The taps of a bin of roi_align on one axis: its pixels, each with the mean of its weights over the bin's samples, and
// the slopes of those weights. Host and device share these lines, as they share roi_align/rule.h: weights merged in
// another order would have other bits.
//
// A list has push_back, size and operator[]: a vector, or on a device an array in memory of its own.

#pragma once

#include "roi_align/rule.h"

namespace roi_align {

// A pixel's weight in a bin; `at` is a row of the map, or the number of a column within the box.
template <typename Acc> struct BinTap {
  int32_t at;
  Acc weight;
};

// The slope of that weight per unit of either edge.
struct BinSlope {
  int32_t at;
  double first;
  double second;
};

// The entry of a pixel among those from `begin` on, or a new entry. Neighbouring samples share pixels: positions are
// monotonic, so an earlier entry of the pixel is one of the last three.
template <typename Entry, typename List>
ROI_ALIGN_HOST_DEVICE Entry* entry_of(List& list, int64_t begin, int64_t pixel, const Entry& fresh) {
  const int32_t at = static_cast<int32_t>(pixel);
  const int64_t end = static_cast<int64_t>(list.size());
  for (int64_t k = end; k > begin && k > end - 3; --k) {
    if (list[static_cast<size_t>(k - 1)].at == at) return &list[static_cast<size_t>(k - 1)];
  }
  list.push_back(fresh);
  return nullptr;
}

template <typename Acc, typename List>
ROI_ALIGN_HOST_DEVICE void add_weight(List& list, int64_t begin, int64_t pixel, Acc weight) {
  if (BinTap<Acc>* const met = entry_of(list, begin, pixel, BinTap<Acc>{static_cast<int32_t>(pixel), weight})) {
    met->weight += weight;
  }
}

// Appends the taps of one bin to a list; without samples in reach there are none.
template <typename Acc, typename T, typename List>
ROI_ALIGN_HOST_DEVICE void add_taps(const BinAxis<T>& axis, int64_t bin, int64_t length, List& list) {
  const T base = axis.base(bin);
  const SampleSpan span = samples_in_reach(axis, base, length);
  const int64_t begin = static_cast<int64_t>(list.size());
  for (int64_t i = span.begin; i < span.end; ++i) {
    const Tap<Acc> tap = edge_tap<Acc>(axis.position(base, i), length);
    add_weight<Acc>(list, begin, tap.low, tap.high == tap.low ? Acc(1) : Acc(1) - tap.weight);
    if (tap.high != tap.low) add_weight<Acc>(list, begin, tap.high, tap.weight);
  }
  const Acc samples = static_cast<Acc>(axis.grid);
  for (int64_t k = begin; k < static_cast<int64_t>(list.size()); ++k) list[static_cast<size_t>(k)].weight /= samples;
}

template <typename List>
ROI_ALIGN_HOST_DEVICE void add_slope(List& list, int64_t begin, int64_t pixel, double first, double second) {
  if (BinSlope* const met = entry_of(list, begin, pixel, BinSlope{static_cast<int32_t>(pixel), first, second})) {
    met->first += first;
    met->second += second;
  }
}

// Appends the slopes of one bin. Only a sample between two pixels moves with an edge: at a pixel, in the bands beside
// the image and beyond, the slope is 0 on this axis.
template <typename T, typename List>
ROI_ALIGN_HOST_DEVICE void add_slopes(const BinAxis<T>& axis, T scale, int64_t bin, int64_t bins, int64_t length,
                                      List& list) {
  const T base = axis.base(bin);
  const SampleSpan span = samples_in_reach(axis, base, length);
  const int64_t begin = static_cast<int64_t>(list.size());
  for (int64_t i = span.begin; i < span.end; ++i) {
    const Tap<T> tap = edge_tap<T>(axis.position(base, i), length);
    if (tap.high == tap.low) continue;
    EdgeSlopes slopes = bin_slopes(axis, scale, bin, i, bins);
    slopes.a1 /= static_cast<double>(axis.grid);
    slopes.a2 /= static_cast<double>(axis.grid);
    add_slope(list, begin, tap.low, -slopes.a1, -slopes.a2);
    add_slope(list, begin, tap.high, slopes.a1, slopes.a2);
  }
}

}  // namespace roi_align
