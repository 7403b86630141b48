// Where the boxes of a call sample, worked out once and read by every unit of work.
//
// A unit is a block of channels or a band of rows, so many units read the same box, and working out its taps again
// would cost a tenth of what is done with them. The table also tells in which order to take the boxes: those of an
// image together, and of those, where the order is free, the ones that start in the same rows, so that they find each
// other's pixels in a cache.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "crop_and_resize/boxes.h"

namespace roi_align {

// Samples begin <= i < end of an axis lie inside the image: positions are monotonic, so the inside ones are neighbours.
template <typename Acc> struct AxisTaps {
  const Tap<Acc>* taps;
  int64_t begin, end;

  const Tap<Acc>& operator[](int64_t i) const { return taps[i]; }
};

template <typename Acc> struct BoxTaps {
  AxisTaps<Acc> y, x;
};

// One box: its image, its samples inside, and the first and last row of the image that they touch.
struct BoxSpan {
  int64_t image;
  int64_t y_begin, y_end, x_begin, x_end;
  int64_t first_row, last_row;  // the last before the first if it touches none
};

class BoxTable {
 public:
  // Of M boxes on images of this size; `accumulate` is the type of the weights, kFloat32 or kFloat64.
  BoxTable(const BoxList& boxes, Method method, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width,
           DType accumulate);

  // Works out boxes begin <= row < end. Ranges may be filled by several threads; all must be before anything is read.
  void fill(int64_t begin, int64_t end);

  // Puts the boxes of an image together, and of those the ones whose first row lies in the same one of `bands` bands.
  // Apart from that they keep their order.
  void arrange(int64_t bands);

  int64_t count() const { return boxes_.count; }
  BoxRule rule() const { return boxes_.rule; }
  const BoxSpan& span(int64_t row) const { return spans_[static_cast<size_t>(row)]; }

  // The arranged boxes: those of image n are at positions first_of(n) to first_of(n + 1).
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
