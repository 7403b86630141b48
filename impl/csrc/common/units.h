// How work is shared out: in units, which a kernel takes one after the other, computing those and nothing else.
//
// Units own what they write, so any number of threads may share them, in any order, and the result is the same to the
// last bit.

#pragma once

#include <atomic>
#include <cstdint>

#include "common/host_device.h"

namespace roi_align {

ROI_ALIGN_HOST_DEVICE constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One of `parts` parts of begin <= i < end.
struct Part {
  int64_t begin, end;
};
constexpr Part part_of(int64_t begin, int64_t end, int64_t part, int64_t parts) {
  return {begin + part * (end - begin) / parts, begin + (part + 1) * (end - begin) / parts};
}

// The units of a call, taken one by one: a thread that finishes early takes more of them.
struct Units {
  int64_t count;
  std::atomic<int64_t> next{0};

  bool take(int64_t* unit) {
    *unit = next.fetch_add(1, std::memory_order_relaxed);
    return *unit < count;
  }
};

}  // namespace roi_align
