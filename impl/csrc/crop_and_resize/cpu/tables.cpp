// Filling and ordering the table of boxes.

#include "crop_and_resize/cpu/tables.h"

#include <algorithm>
#include <new>

namespace roi_align {
namespace {

void* memory_for(int64_t boxes, int64_t taps_a_box, int64_t tap_bytes) {
  int64_t bytes;
  // The sizes of an expanded upstream gradient are not limited by its memory.
  if (__builtin_mul_overflow(boxes, taps_a_box, &bytes) || __builtin_mul_overflow(bytes, tap_bytes, &bytes)) {
    throw std::bad_alloc();
  }
  return ::operator new(static_cast<size_t>(bytes));
}

void give_back(void* memory) { ::operator delete(memory); }

// The taps of the samples inside, begin <= i < end.
template <typename Acc, typename Edge>
void fill_axis(const Axis<Edge>& axis, Method method, int64_t length, int64_t crop, Tap<Acc>* taps, int64_t& begin,
               int64_t& end) {
  begin = 0;
  while (begin < crop && !inside(axis.position(begin), length)) ++begin;
  end = begin;
  for (; end < crop; ++end) {
    const Edge position = axis.position(end);
    if (!inside(position, length)) break;
    taps[end] = make_tap<Acc>(method, position, length);
  }
}

}  // namespace

BoxTable::BoxTable(const BoxList& boxes, Method method, const int64_t (&image_size)[4], int64_t crop_height,
                   int64_t crop_width, DType accumulate)
    : boxes_(boxes),
      method_(method),
      images_(image_size[0]),
      height_(image_size[2]),
      width_(image_size[3]),
      crop_height_(crop_height),
      crop_width_(crop_width),
      accumulate_(accumulate),
      spans_(static_cast<size_t>(boxes.count)),
      taps_(memory_for(boxes.count, crop_height + crop_width,
                       accumulate == DType::kFloat64 ? sizeof(Tap<double>) : sizeof(Tap<float>)),
            give_back) {}

void BoxTable::fill(int64_t begin, int64_t end) {
  with_float(accumulate_, [&](auto acc) {
    with_float(boxes_.edge_dtype, [&](auto edge) { fill_as<decltype(acc), decltype(edge)>(begin, end); });
  });
}

template <typename Acc, typename Edge> void BoxTable::fill_as(int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    BoxSpan& box = spans_[static_cast<size_t>(row)];
    Tap<Acc>* const y = static_cast<Tap<Acc>*>(taps_.get()) + row * (crop_height_ + crop_width_);
    Tap<Acc>* const x = y + crop_height_;
    box.image = image_index(boxes_, row);
    fill_axis(box_axis<Edge>(boxes_, row, true, height_, crop_height_), method_, height_, crop_height_, y, box.y_begin,
              box.y_end);
    fill_axis(box_axis<Edge>(boxes_, row, false, width_, crop_width_), method_, width_, crop_width_, x, box.x_begin,
              box.x_end);
    box.first_row = 0;
    box.last_row = -1;
    if (box.y_begin < box.y_end && box.x_begin < box.x_end) {
      // The rows of an inverted box run from its last to its first.
      const Tap<Acc>&one = y[box.y_begin], &other = y[box.y_end - 1];
      box.first_row = std::min(one.low, other.low);
      box.last_row = std::max(one.high, other.high);
    }
  }
}

void BoxTable::arrange(int64_t bands) {
  const auto place = [&](const BoxSpan& box) { return box.image * bands + box.first_row * bands / height_; };
  // A counting sort: first the number of boxes before each place, then each box into its place.
  std::vector<int64_t> next(static_cast<size_t>(images_ * bands + 1), 0);
  for (const BoxSpan& box : spans_) ++next[static_cast<size_t>(place(box) + 1)];
  for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
  image_begin_.resize(static_cast<size_t>(images_ + 1));
  for (int64_t n = 0; n <= images_; ++n) image_begin_[static_cast<size_t>(n)] = next[static_cast<size_t>(n * bands)];
  order_.resize(spans_.size());
  for (int64_t row = 0; row < count(); ++row) {
    order_[static_cast<size_t>(next[static_cast<size_t>(place(span(row)))]++)] = row;
  }
}

}  // namespace roi_align
