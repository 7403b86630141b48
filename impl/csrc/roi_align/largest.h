// Which sample of a bin is the largest: the first of them where several are, NaN if any is. Host and device share these
// lines, as they share rule.h.
//
// A maximum is not separable: samples are worked out and taken one by one. What is asked of the samples of a bin on one
// axis is `span` (those in reach), none(), before(), after(), and tap<Acc>(i); of a plane, at(y, x) in what is summed
// in.

#pragma once

#include "roi_align/rule.h"

namespace roi_align {

// What a sample reads: rows first, then columns, as the mean does.
template <typename Acc, typename Plane>
ROI_ALIGN_HOST_DEVICE inline Acc sample_at(const Plane& plane, const Tap<Acc>& ty, const Tap<Acc>& tx) {
  const auto column = [&](int64_t x) -> Acc {
    if (ty.low == ty.high) return plane.at(ty.low, x);
    return (Acc(1) - ty.weight) * plane.at(ty.low, x) + ty.weight * plane.at(ty.high, x);
  };
  if (tx.low == tx.high) return column(tx.low);
  return (Acc(1) - tx.weight) * column(tx.low) + tx.weight * column(tx.high);
}

// The sample that a bin is worth; not `inside` if that is one beyond the image, or if there is none.
template <typename Acc> struct Largest {
  Acc value;
  int64_t y, x;
  bool inside;
};

// Takes a sample in if it is larger than all before it, or the first NaN. `any` says whether there was one before.
template <typename Acc>
ROI_ALIGN_HOST_DEVICE inline void offer(Largest<Acc>& best, bool& any, const Largest<Acc>& other) {
  if (any && (best.value != best.value || !(other.value > best.value || other.value != other.value))) return;
  best = other;
  any = true;
}

// Samples in the order y, x. One beyond the image is worth 0 and can be the first of all, the first after a row, or the
// first after all rows: it is taken in there, once.
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
