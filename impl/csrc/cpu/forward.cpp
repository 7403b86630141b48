// crop_and_resize, forward, on the CPU.
//
// Two loops for two layouts. In planes (NCHW and every other stride) a sample gathers its four pixels, so the loop runs
// along x with the taps at hand. With channels innermost (channels_last) the four pixels are four rows of channels and
// the loop runs along those, which a compiler can vectorise. Both interpolate in TensorFlow's order, each step rounded.

#include "taps.h"

namespace roi_align {
namespace {

// How boxes and channels are cut into units. In planes all boxes pass over a few planes before the next few, which then
// stay in cache; the taps are computed again for each such block of planes, which costs less than a cache miss a sample.
// With channels innermost a box's channels lie together, so the boxes follow each other and blocks are only for balance.
struct Cut {
  int64_t rows, channels, block, blocks;
  bool innermost;

  struct Unit {
    int64_t row, channel_begin, channel_end;
  };

  Unit unit(int64_t i) const {
    const int64_t row = innermost ? i / blocks : i % rows;
    const int64_t first = (innermost ? i % blocks : i / rows) * block;
    return {row, first, std::min(channels, first + block)};
  }
};

Cut cut_of(const ConstView& image, int64_t rows) {
  const bool innermost = channels_innermost(image);
  const int64_t channels = image.size[1], block = innermost ? 64 : 8;
  return {rows, channels, block, (channels + block - 1) / block, innermost};
}

template <typename Pixel>
Pixel interpolate(Pixel top_left, Pixel top_right, Pixel bottom_left, Pixel bottom_right, Pixel lx, Pixel ly) {
  const Pixel top = top_left + (top_right - top_left) * lx;
  const Pixel bottom = bottom_left + (bottom_right - bottom_left) * lx;
  return top + (bottom - top) * ly;
}

template <Method method, typename Pixel>
void crop_planes(const ConstView& image, int64_t n, const BoxTaps<Pixel>& taps, Pixel extrapolation, const View& crops,
                 int64_t row, int64_t channel_begin, int64_t channel_end) {
  const int64_t crop_height = crops.size[2], crop_width = crops.size[3];
  const int64_t pixel_stride = image.stride[3], out_stride = crops.stride[3];
  for (int64_t c = channel_begin; c < channel_end; ++c) {
    const Pixel* plane = static_cast<const Pixel*>(image.data) + n * image.stride[0] + c * image.stride[1];
    Pixel* crop = static_cast<Pixel*>(crops.data) + row * crops.stride[0] + c * crops.stride[1];
    for (int64_t y = 0; y < crop_height; ++y) {
      Pixel* out = crop + y * crops.stride[2];
      const bool row_inside = y >= taps.y.begin && y < taps.y.end;
      const int64_t x_begin = row_inside ? taps.x.begin : crop_width;
      const int64_t x_end = row_inside ? taps.x.end : crop_width;
      for (int64_t x = 0; x < x_begin; ++x) out[x * out_stride] = extrapolation;
      if (row_inside) {
        const Tap<Pixel> ty = taps.y[y];
        const Pixel* top = plane + ty.low * image.stride[2];
        const Pixel* bottom = plane + ty.high * image.stride[2];
        for (int64_t x = x_begin; x < x_end; ++x) {
          const Tap<Pixel> tx = taps.x[x];
          const int64_t left = tx.low * pixel_stride, right = tx.high * pixel_stride;
          out[x * out_stride] =
              method == Method::kNearest
                  ? top[left]
                  : interpolate(top[left], top[right], bottom[left], bottom[right], tx.weight, ty.weight);
        }
      }
      for (int64_t x = x_end; x < crop_width; ++x) out[x * out_stride] = extrapolation;
    }
  }
}

template <Method method, typename Pixel>
void crop_pixels(const ConstView& image, int64_t n, const BoxTaps<Pixel>& taps, Pixel extrapolation, const View& crops,
                 int64_t row, int64_t channel_begin, int64_t channel_end) {
  const int64_t channels = channel_end - channel_begin;
  const Pixel* base = static_cast<const Pixel*>(image.data) + n * image.stride[0] + channel_begin;
  Pixel* crop = static_cast<Pixel*>(crops.data) + row * crops.stride[0] + channel_begin * crops.stride[1];
  for (int64_t y = 0; y < crops.size[2]; ++y) {
    const bool row_inside = y >= taps.y.begin && y < taps.y.end;
    for (int64_t x = 0; x < crops.size[3]; ++x) {
      Pixel* __restrict__ out = crop + y * crops.stride[2] + x * crops.stride[3];
      if (!row_inside || x < taps.x.begin || x >= taps.x.end) {
        std::fill(out, out + channels, extrapolation);
        continue;
      }
      const Tap<Pixel> ty = taps.y[y], tx = taps.x[x];
      const Pixel* top_left = base + ty.low * image.stride[2] + tx.low * image.stride[3];
      if (method == Method::kNearest) {
        std::copy(top_left, top_left + channels, out);
        continue;
      }
      const Pixel* top_right = base + ty.low * image.stride[2] + tx.high * image.stride[3];
      const Pixel* bottom_left = base + ty.high * image.stride[2] + tx.low * image.stride[3];
      const Pixel* bottom_right = base + ty.high * image.stride[2] + tx.high * image.stride[3];
      for (int64_t c = 0; c < channels; ++c) {
        out[c] = interpolate(top_left[c], top_right[c], bottom_left[c], bottom_right[c], tx.weight, ty.weight);
      }
    }
  }
}

template <Method method, typename Pixel>
void forward_range(const ConstView& image, const BoxList& boxes, Pixel extrapolation, const View& crops, int64_t begin,
                   int64_t end) {
  const Cut cut = cut_of(image, crops.size[0]);
  BoxTaps<Pixel> taps(crops.size[2], crops.size[3]);
  int64_t filled = -1;
  for (int64_t i = begin; i < end; ++i) {
    const Cut::Unit unit = cut.unit(i);
    const int64_t n = image_index(boxes, unit.row);
    if (unit.row != filled) taps.fill(boxes, unit.row, method, image.size[2], image.size[3]);
    filled = unit.row;
    if (cut.innermost) {
      crop_pixels<method>(image, n, taps, extrapolation, crops, unit.row, unit.channel_begin, unit.channel_end);
    } else {
      crop_planes<method>(image, n, taps, extrapolation, crops, unit.row, unit.channel_begin, unit.channel_end);
    }
  }
}

template <typename Pixel>
void forward_typed(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value,
                   const View& crops, int64_t begin, int64_t end) {
  const Pixel extrapolation = static_cast<Pixel>(extrapolation_value);
  if (method == Method::kNearest) {
    forward_range<Method::kNearest, Pixel>(image, boxes, extrapolation, crops, begin, end);
  } else {
    forward_range<Method::kBilinear, Pixel>(image, boxes, extrapolation, crops, begin, end);
  }
}

}  // namespace

int64_t forward_units(const ConstView& image, const BoxList& boxes) {
  return boxes.count * cut_of(image, boxes.count).blocks;
}

void forward(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value,
             const View& crops, int64_t begin, int64_t end) {
  if (image.dtype == DType::kFloat64) {
    forward_typed<double>(image, boxes, method, extrapolation_value, crops, begin, end);
  } else {
    forward_typed<float>(image, boxes, method, extrapolation_value, crops, begin, end);
  }
}

}  // namespace roi_align
