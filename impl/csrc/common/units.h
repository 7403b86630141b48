// Units of work: a kernel computes a range of units and nothing else.
//
// A unit owns the memory that it writes, so any number of threads may share the units, in any order, and the result is
// the same to the last bit.

#pragma once

#include <atomic>
#include <cstdint>

#include "common/host_device.h"

namespace roi_align {

ROI_ALIGN_HOST_DEVICE constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Part number `part` of `parts` equal parts of begin <= i < end.
struct Part {
  int64_t begin, end;
};
constexpr Part part_of(int64_t begin, int64_t end, int64_t part, int64_t parts) {
  return {begin + part * (end - begin) / parts, begin + (part + 1) * (end - begin) / parts};
}

// The units of a call, shared by its threads: a thread that finishes a unit takes the next one.
struct Units {
  int64_t count;
  std::atomic<int64_t> next{0};

  bool take(int64_t* unit) {
    *unit = next.fetch_add(1, std::memory_order_relaxed);
    return *unit < count;
  }
};

}  // namespace roi_align
