// Where the samples of a crop sit, and which pixels each one reads: docs/operators.md, "crop_and_resize", says why.
//
// These lines decide the bits. Equality with TensorFlow rests on one rounding order for sample positions ("order A"),
// the same in the forward and in every gradient, on the host and on a device, so there is one copy of it, here. Every
// operation is rounded on its own: the build switches contraction to fused multiply-add off
// (-ffp-contract=off for the host, -fmad=false for a device).

#pragma once

#include <cstdint>

#include "common/tap.h"

namespace roi_align {

enum class Method : int64_t { kBilinear = 0, kNearest = 1 };

// How a box's two edges on an axis become sample positions.
enum class BoxRule : int64_t {
  kNormalized = 0,  // TensorFlow's crop_and_resize: edges in units of (length - 1), samples on the edges
  kBinCentres = 1,  // pixel edges, pixel k covering [k, k+1): samples at the centres of the bins
  kCorners = 2,     // pixel edges, samples on the edges
};

// Sample i of an axis sits at start + i * step, in pixel indices.
template <typename T> struct Axis {
  T start;
  T step;

  ROI_ALIGN_HOST_DEVICE T position(int64_t i) const { return start + static_cast<T>(i) * step; }
};

// Order A for edges in units of (length - 1).
template <typename T> ROI_ALIGN_HOST_DEVICE Axis<T> normalized_axis(T a1, T a2, int64_t length, int64_t crop) {
  const T extent = static_cast<T>(length - 1);
  if (crop == 1) {
    // The sum is rounded in T, the two products in double: that is what `0.5 * (y1 + y2) * extent` means in C++.
    // The step is -0.0 because adding that changes nothing, not even a start of -0.0.
    return {static_cast<T>(0.5 * static_cast<double>(a1 + a2) * static_cast<double>(length - 1)), T(-0.0)};
  }
  return {a1 * extent, ((a2 - a1) * extent) / static_cast<T>(crop - 1)};
}

template <typename T> ROI_ALIGN_HOST_DEVICE Axis<T> make_axis(BoxRule rule, T a1, T a2, int64_t length, int64_t crop) {
  const T extent = static_cast<T>(length - 1);
  const T bins = static_cast<T>(crop);
  switch (rule) {
    case BoxRule::kBinCentres: {
      const T bin = (a2 - a1) / bins;
      const T first = a1 + bin / T(2) - T(0.5);
      // With one pixel there is nothing to divide by: the position is the pixel-space one.
      if (length == 1) return {first, bin};
      const T n1 = first / extent;
      const T n2 = n1 + bin * static_cast<T>(crop - 1) / extent;
      return normalized_axis(n1, n2, length, crop);
    }
    case BoxRule::kCorners:
      if (length == 1) {
        if (crop == 1) return {static_cast<T>(0.5 * static_cast<double>(a1 + a2)), T(-0.0)};
        return {a1, (a2 - a1) / static_cast<T>(crop - 1)};
      }
      return normalized_axis(a1 / extent, a2 / extent, length, crop);
    default: return normalized_axis(a1, a2, length, crop);
  }
}

// Tested on the position itself, before any cast to an integer: NaN and overflow are outside, -0.0 is inside.
template <typename T> ROI_ALIGN_HOST_DEVICE bool inside(T position, int64_t length) {
  return position >= T(0) && position <= static_cast<T>(length - 1);
}

// The tap of an inside position. The distance is exact in T and is rounded to Acc.
// A position that is not negative is truncated to its floor without a call to the library, and at -0.0 this gives the
// distance -0.0, which TensorFlow's does too: it decides the sign of an interpolated zero.
template <typename Acc, typename T> ROI_ALIGN_HOST_DEVICE Tap<Acc> make_tap(Method method, T position, int64_t length) {
  // From 2^24 pixels on, length - 1 may round up in float32: an inside position can then lie past the last pixel.
  const int64_t last = length - 1;
  const int64_t floor = static_cast<int64_t>(position);
  const T distance = position - static_cast<T>(floor);
  if (method == Method::kNearest) {
    const int64_t nearest = floor + (distance >= T(0.5));  // halves away from zero
    const int64_t pixel = nearest < last ? nearest : last;
    return {pixel, pixel, Acc(0)};
  }
  const int64_t ceil = floor + (distance > T(0));
  return {floor < last ? floor : last, ceil < last ? ceil : last, static_cast<Acc>(distance)};
}

ROI_ALIGN_HOST_DEVICE inline EdgeSlopes edge_slopes(BoxRule rule, int64_t i, int64_t length, int64_t crop) {
  const double unit = rule == BoxRule::kNormalized ? static_cast<double>(length - 1) : 1.0;
  double share = 0.5;  // of the way from a1 to a2
  if (rule == BoxRule::kBinCentres) {
    share = (static_cast<double>(i) + 0.5) / static_cast<double>(crop);
  } else if (crop > 1) {
    share = static_cast<double>(i) / static_cast<double>(crop - 1);
  }
  return {unit * (1.0 - share), unit * share};
}

}  // namespace roi_align
