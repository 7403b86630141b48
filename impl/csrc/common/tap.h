// The pixels that a sample reads on one axis, and its movement with the box: each operator's rule.h computes them.

#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace roi_align {

// The two pixels of an axis that a sample reads, and its distance from the lower one. At an integer position both are
// the same pixel, so that a NaN in the neighbour cannot leak in.
template <typename Acc> struct Tap {
  int64_t low;
  int64_t high;
  Acc weight;
};

// The movement of a sample, in pixels, per unit of either edge of the box.
struct EdgeSlopes {
  double a1;
  double a2;
};

}  // namespace roi_align
