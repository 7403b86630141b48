// What a sample reads on one axis, and how it moves with its box: each operator's rule.h works them out.

#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace roi_align {

// The two pixels of an axis that a sample reads, and how far it is from the lower one.
// At an integer position both are the same pixel, so that a NaN next door cannot leak in.
template <typename Acc> struct Tap {
  int64_t low;
  int64_t high;
  Acc weight;
};

// How far sample i moves, in pixels, when an edge of the box moves by one unit of that edge.
struct EdgeSlopes {
  double a1;
  double a2;
};

}  // namespace roi_align
