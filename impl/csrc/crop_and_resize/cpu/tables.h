// The taps of the boxes of a call, computed once and read by every unit of work.
//
// A unit is a block of channels or a band of rows, so many units read the same box, and computing its taps again would
// cost a tenth of the work done with them. The table also has the order of the boxes: those of an image together and,
// where the order is free, those that start in the same rows together, so that they share pixels in a cache.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "crop_and_resize/boxes.h"

namespace roi_align {

// Samples begin <= i < end of an axis are inside the image: positions are monotonic, so inside samples are consecutive.
template <typename Acc> struct AxisTaps {
  const Tap<Acc>* taps;
  int64_t begin, end;

  const Tap<Acc>& operator[](int64_t i) const { return taps[i]; }
};

template <typename Acc> struct BoxTaps {
  AxisTaps<Acc> y, x;
};

// One box: its image, its samples inside, and the first and last row of the image that they read.
struct BoxSpan {
  int64_t image;
  int64_t y_begin, y_end, x_begin, x_end;
  int64_t first_row, last_row;  // last_row < first_row if the samples read no row
};

class BoxTable {
 public:
  // A table of M boxes on images of this size; `accumulate` is the type of the weights, kFloat32 or kFloat64.
  BoxTable(const BoxList& boxes, Method method, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width,
           DType accumulate);

  // Computes boxes begin <= row < end. Several threads may fill ranges; all must be filled before a box is read.
  void fill(int64_t begin, int64_t end);

  // Orders the boxes by image, then by the band, out of `bands`, that has their first row. The order is stable.
  void arrange(int64_t bands);

  int64_t count() const { return boxes_.count; }
  BoxRule rule() const { return boxes_.rule; }
  const BoxSpan& span(int64_t row) const { return spans_[static_cast<size_t>(row)]; }

  // The boxes of image n are at positions first_of(n) to first_of(n + 1).
  int64_t row_at(int64_t position) const { return order_[static_cast<size_t>(position)]; }
  int64_t first_of(int64_t n) const { return image_begin_[static_cast<size_t>(n)]; }

  template <typename Acc> BoxTaps<Acc> taps(int64_t row) const {
    const BoxSpan& box = span(row);
    const Tap<Acc>* const y = static_cast<const Tap<Acc>*>(taps_.get()) + row * (crop_height_ + crop_width_);
    return {{y, box.y_begin, box.y_end}, {y + crop_height_, box.x_begin, box.x_end}};
  }

 private:
  template <typename Acc, typename Edge> void fill_as(int64_t begin, int64_t end);

  BoxList boxes_;
  Method method_;
  int64_t images_, height_, width_, crop_height_, crop_width_;
  DType accumulate_;
  std::vector<BoxSpan> spans_;
  std::unique_ptr<void, void (*)(void*)> taps_;
  std::vector<int64_t> order_, image_begin_;
};

}  // namespace roi_align
