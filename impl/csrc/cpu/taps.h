// The taps of one box, computed once and then used by every channel.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../boxes.h"

namespace roi_align {

// Samples begin <= i < end of an axis lie inside the image: positions are monotonic, so the inside ones are neighbours.
template <typename Acc>
struct AxisTaps {
  std::vector<Tap<Acc>> taps;
  int64_t begin = 0;
  int64_t end = 0;

  explicit AxisTaps(int64_t crop) : taps(static_cast<size_t>(crop)) {}

  const Tap<Acc>& operator[](int64_t i) const { return taps[static_cast<size_t>(i)]; }

  template <typename T>
  void fill(const Axis<T>& axis, Method method, int64_t length) {
    const int64_t crop = static_cast<int64_t>(taps.size());
    begin = 0;
    while (begin < crop && !inside(axis.position(begin), length)) ++begin;
    end = begin;
    for (; end < crop; ++end) {
      const T position = axis.position(end);
      if (!inside(position, length)) break;
      taps[static_cast<size_t>(end)] = make_tap<Acc>(method, position, length);
    }
  }
};

// The scratch of one range of work: the taps of the box at hand.
template <typename Acc>
struct BoxTaps {
  AxisTaps<Acc> y;
  AxisTaps<Acc> x;

  BoxTaps(int64_t crop_height, int64_t crop_width) : y(crop_height), x(crop_width) {}

  void fill(const BoxList& boxes, int64_t row, Method method, int64_t height, int64_t width) {
    if (boxes.edge_dtype == DType::kFloat64) {
      fill_from<double>(boxes, row, method, height, width);
    } else {
      fill_from<float>(boxes, row, method, height, width);
    }
  }

 private:
  template <typename T>
  void fill_from(const BoxList& boxes, int64_t row, Method method, int64_t height, int64_t width) {
    y.fill(box_axis<T>(boxes, row, true, height, static_cast<int64_t>(y.taps.size())), method, height);
    x.fill(box_axis<T>(boxes, row, false, width, static_cast<int64_t>(x.taps.size())), method, width);
  }
};

}  // namespace roi_align
