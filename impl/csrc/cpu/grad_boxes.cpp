// The gradient of the boxes on the CPU: how the crop changes when an edge moves.
//
// The derivative of the bilinear formula with respect to the sample position, times how far each edge moves the sample.
// (The nearest method is flat between its jumps; like TensorFlow's, its box gradient is the bilinear one.) One box is
// one unit: its four sums have one owner and one order. Sums run in double, so a large crop costs no accuracy.

#include "taps.h"

namespace roi_align {
namespace {

template <typename Pixel>
struct Slope {
  Pixel y;
  Pixel x;
};

// d(interpolated)/d(position) * upstream. At an integer position both pixels are one and the slope there is 0.
template <typename Pixel>
Slope<Pixel> slope(Pixel top_left, Pixel top_right, Pixel bottom_left, Pixel bottom_right, Pixel lx, Pixel ly,
                   Pixel g) {
  return {((Pixel(1) - lx) * (bottom_left - top_left) + lx * (bottom_right - top_right)) * g,
          ((Pixel(1) - ly) * (top_right - top_left) + ly * (bottom_right - bottom_left)) * g};
}

// Sums over the channels of one sample. Lanes let the compiler vectorise a sum without reordering anything by itself.
template <typename Pixel>
Slope<double> sum_over_channels(const Pixel* top_left, const Pixel* top_right, const Pixel* bottom_left,
                                const Pixel* bottom_right, int64_t image_stride, const Pixel* grad,
                                int64_t grad_stride, int64_t channels, Pixel lx, Pixel ly) {
  constexpr int64_t kLanes = 8;
  double lanes_y[kLanes] = {}, lanes_x[kLanes] = {};
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t lanes = std::min(kLanes, channels - c);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t i = (c + lane) * image_stride;
      const Slope<Pixel> s = slope(top_left[i], top_right[i], bottom_left[i], bottom_right[i], lx, ly,
                                   grad[(c + lane) * grad_stride]);
      lanes_y[lane] += s.y;
      lanes_x[lane] += s.x;
    }
  }
  Slope<double> sum{0, 0};
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sum.y += lanes_y[lane];
    sum.x += lanes_x[lane];
  }
  return sum;
}

template <typename Pixel, typename T>
void grad_boxes_range(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, T* grad_boxes,
                      int64_t begin, int64_t end) {
  const int64_t channels = image.size[1], height = image.size[2], width = image.size[3];
  const int64_t crop_height = grad_crops.size[2], crop_width = grad_crops.size[3];
  BoxTaps<Pixel> taps(crop_height, crop_width);
  for (int64_t row = begin; row < end; ++row) {
    taps.fill(boxes, row, Method::kBilinear, height, width);
    const Pixel* base = static_cast<const Pixel*>(image.data) + image_index(boxes, row) * image.stride[0];
    const Pixel* crop = static_cast<const Pixel*>(grad_crops.data) + row * grad_crops.stride[0];
    double y1 = 0, x1 = 0, y2 = 0, x2 = 0;
    for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
      const Tap<Pixel> ty = taps.y[y];
      const EdgeSlopes move_y = edge_slopes(boxes.rule, y, height, crop_height);
      const Pixel* top = base + ty.low * image.stride[2];
      const Pixel* bottom = base + ty.high * image.stride[2];
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<Pixel> tx = taps.x[x];
        const EdgeSlopes move_x = edge_slopes(boxes.rule, x, width, crop_width);
        const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
        const Slope<double> sum = sum_over_channels(
            top + left, top + right, bottom + left, bottom + right, image.stride[1],
            crop + y * grad_crops.stride[2] + x * grad_crops.stride[3], grad_crops.stride[1], channels, tx.weight,
            ty.weight);
        y1 += sum.y * move_y.a1;
        y2 += sum.y * move_y.a2;
        x1 += sum.x * move_x.a1;
        x2 += sum.x * move_x.a2;
      }
    }
    T* out = grad_boxes + row * 4;
    const int64_t y_column = boxes.rule == BoxRule::kNormalized ? 0 : 1, x_column = 1 - y_column;
    out[y_column] = static_cast<T>(y1);
    out[x_column] = static_cast<T>(x1);
    out[y_column + 2] = static_cast<T>(y2);
    out[x_column + 2] = static_cast<T>(x2);
  }
}

template <typename Pixel>
void grad_boxes_typed(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* grad_boxes,
                      int64_t begin, int64_t end) {
  if (boxes.edge_dtype == DType::kFloat64) {
    grad_boxes_range<Pixel>(grad_crops, image, boxes, static_cast<double*>(grad_boxes), begin, end);
  } else {
    grad_boxes_range<Pixel>(grad_crops, image, boxes, static_cast<float*>(grad_boxes), begin, end);
  }
}

}  // namespace

void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* grad_boxes,
                int64_t begin, int64_t end) {
  if (image.dtype == DType::kFloat64) {
    grad_boxes_typed<double>(grad_crops, image, boxes, grad_boxes, begin, end);
  } else {
    grad_boxes_typed<float>(grad_crops, image, boxes, grad_boxes, begin, end);
  }
}

}  // namespace roi_align
