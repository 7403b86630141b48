// The largest sample of a bin: the first one if several are equal, and NaN if any sample is. Host and device share
// these lines, as they share rule.h.
//
// A maximum is not separable: samples are computed and compared one by one. The samples of a bin on one axis must have
// `span` (those in reach), none(), before(), after() and tap<Acc>(i); a plane must have at(y, x), in the type of sums.

#pragma once

#include "roi_align/rule.h"

namespace roi_align {

// The value of a sample: rows are weighed first, then columns, as in the mean.
template <typename Acc, typename Plane>
ROI_ALIGN_HOST_DEVICE inline Acc sample_at(const Plane& plane, const Tap<Acc>& ty, const Tap<Acc>& tx) {
  const auto column = [&](int64_t x) -> Acc {
    if (ty.low == ty.high) return plane.at(ty.low, x);
    return (Acc(1) - ty.weight) * plane.at(ty.low, x) + ty.weight * plane.at(ty.high, x);
  };
  if (tx.low == tx.high) return column(tx.low);
  return (Acc(1) - tx.weight) * column(tx.low) + tx.weight * column(tx.high);
}

// The largest sample of a bin; `inside` is false if it is beyond the image, or if there is no sample.
template <typename Acc> struct Largest {
  Acc value;
  int64_t y, x;
  bool inside;
};

// Replaces the best sample by a larger one or by the first NaN. `any` says whether there has been a sample.
template <typename Acc>
ROI_ALIGN_HOST_DEVICE inline void offer(Largest<Acc>& best, bool& any, const Largest<Acc>& other) {
  if (any && (best.value != best.value || !(other.value > best.value || other.value != other.value))) return;
  best = other;
  any = true;
}

// Samples in the order y, x. Samples beyond the image are 0. The first of them may come before all others, after the
// first row, or after all rows: it is compared at that place, once.
template <typename Acc, typename Samples, typename Plane>
ROI_ALIGN_HOST_DEVICE inline Largest<Acc> largest_of(const Samples& y, const Samples& x, const Plane& plane) {
  const Largest<Acc> nothing = {Acc(0), 0, 0, false};
  Largest<Acc> best = nothing;
  if (y.none() || x.none()) return best;
  bool any = y.before() || x.before(), beyond = any;
  for (int64_t iy = y.span.begin; iy < y.span.end; ++iy) {
    const Tap<Acc> ty = y.template tap<Acc>(iy);
    for (int64_t ix = x.span.begin; ix < x.span.end; ++ix) {
      offer(best, any, {sample_at<Acc>(plane, ty, x.template tap<Acc>(ix)), iy, ix, true});
    }
    if (!beyond && x.after()) {
      offer(best, any, nothing);
      beyond = true;
    }
  }
  if (!beyond && y.after()) offer(best, any, nothing);
  return best;
}

}  // namespace roi_align
