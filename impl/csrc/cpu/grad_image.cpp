// The gradient of the image on the CPU: every crop pixel is handed back to the four pixels that it was read from.
//
// Boxes overlap, so many samples add to one pixel. Instead of atomics, a unit of work owns pixels (a block of channels
// in a band of rows) and walks over all boxes of its image; what falls outside of it is some other unit's. Sums are then
// made in the order of the boxes at every pixel, which is TensorFlow's order and is the same for any number of threads.

#include "taps.h"

namespace roi_align {
namespace {

// Planes are worked on a few at a time, as many as stay in a second-level cache while all boxes pass over them.
constexpr int64_t kCacheBytes = 1024 * 1024;
// 16 float channels are one line of 64 bytes: two threads never write to the same line.
constexpr int64_t kChannelsPerLine = 16;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Tile {
  int64_t n, channel_begin, channel_end, row_begin, row_end;

  bool has_row(int64_t row) const { return row >= row_begin && row < row_end; }
};

Tile tile_of(const GradImagePlan& plan, const View& image, int64_t unit) {
  const int64_t band = unit % plan.row_bands;
  const int64_t block = unit / plan.row_bands % plan.channel_blocks;
  const int64_t n = unit / plan.row_bands / plan.channel_blocks;
  return {n, block * plan.channel_block, std::min(image.size[1], (block + 1) * plan.channel_block),
          band * plan.row_band, std::min(image.size[2], (band + 1) * plan.row_band)};
}

template <typename Pixel>
void clear(const View& image, const Tile& tile, bool innermost) {
  Pixel* base = static_cast<Pixel*>(image.data) + tile.n * image.stride[0];
  if (!innermost) {
    for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
      for (int64_t y = tile.row_begin; y < tile.row_end; ++y) {
        Pixel* row = base + c * image.stride[1] + y * image.stride[2];
        for (int64_t x = 0; x < image.size[3]; ++x) row[x * image.stride[3]] = Pixel(0);
      }
    }
    return;
  }
  for (int64_t y = tile.row_begin; y < tile.row_end; ++y) {
    for (int64_t x = 0; x < image.size[3]; ++x) {
      Pixel* pixel = base + y * image.stride[2] + x * image.stride[3];
      std::fill(pixel + tile.channel_begin, pixel + tile.channel_end, Pixel(0));
    }
  }
}

template <Method method, typename Pixel>
void scatter_planes(const ConstView& grad_crops, int64_t row, const BoxTaps<Pixel>& taps, const View& image,
                    const Tile& tile) {
  for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
    const Pixel* grad = static_cast<const Pixel*>(grad_crops.data) + row * grad_crops.stride[0] +
                        c * grad_crops.stride[1];
    Pixel* plane = static_cast<Pixel*>(image.data) + tile.n * image.stride[0] + c * image.stride[1];
    for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
      const Tap<Pixel> ty = taps.y[y];
      const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
      if (!has_top && !has_bottom) continue;
      Pixel* top = plane + ty.low * image.stride[2];
      Pixel* bottom = plane + ty.high * image.stride[2];
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<Pixel> tx = taps.x[x];
        const Pixel g = grad[y * grad_crops.stride[2] + x * grad_crops.stride[3]];
        if (method == Method::kNearest) {
          top[tx.low] += g;
          continue;
        }
        if (has_top) {
          const Pixel dtop = (Pixel(1) - ty.weight) * g;
          top[tx.low] += (Pixel(1) - tx.weight) * dtop;
          top[tx.high] += tx.weight * dtop;
        }
        if (has_bottom) {
          const Pixel dbottom = ty.weight * g;
          bottom[tx.low] += (Pixel(1) - tx.weight) * dbottom;
          bottom[tx.high] += tx.weight * dbottom;
        }
      }
    }
  }
}

// pixel[c] += wx * (wy * grad[c])
template <typename Pixel>
void add_channels(Pixel* __restrict__ pixel, Pixel wx, Pixel wy, const Pixel* __restrict__ grad, int64_t grad_stride,
                  int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) pixel[c] += wx * (wy * grad[c * grad_stride]);
}

template <Method method, typename Pixel>
void scatter_pixels(const ConstView& grad_crops, int64_t row, const BoxTaps<Pixel>& taps, const View& image,
                    const Tile& tile) {
  const int64_t channels = tile.channel_end - tile.channel_begin, grad_stride = grad_crops.stride[1];
  const Pixel* crop = static_cast<const Pixel*>(grad_crops.data) + row * grad_crops.stride[0] +
                      tile.channel_begin * grad_stride;
  Pixel* base = static_cast<Pixel*>(image.data) + tile.n * image.stride[0] + tile.channel_begin;
  for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
    const Tap<Pixel> ty = taps.y[y];
    const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
    if (!has_top && !has_bottom) continue;
    Pixel* top = base + ty.low * image.stride[2];
    Pixel* bottom = base + ty.high * image.stride[2];
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<Pixel> tx = taps.x[x];
      const Pixel* grad = crop + y * grad_crops.stride[2] + x * grad_crops.stride[3];
      const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
      if (method == Method::kNearest) {
        for (int64_t c = 0; c < channels; ++c) top[left + c] += grad[c * grad_stride];
        continue;
      }
      // Left and right are the same pixel at an integer position, so these stay four passes in this order.
      if (has_top) {
        add_channels(top + left, Pixel(1) - tx.weight, Pixel(1) - ty.weight, grad, grad_stride, channels);
        add_channels(top + right, tx.weight, Pixel(1) - ty.weight, grad, grad_stride, channels);
      }
      if (has_bottom) {
        add_channels(bottom + left, Pixel(1) - tx.weight, ty.weight, grad, grad_stride, channels);
        add_channels(bottom + right, tx.weight, ty.weight, grad, grad_stride, channels);
      }
    }
  }
}

template <Method method, typename Pixel>
void grad_image_range(const ConstView& grad_crops, const BoxList& boxes, const View& image, const GradImagePlan& plan,
                      int64_t begin, int64_t end) {
  const bool innermost = channels_innermost(image);
  BoxTaps<Pixel> taps(grad_crops.size[2], grad_crops.size[3]);
  for (int64_t unit = begin; unit < end; ++unit) {
    const Tile tile = tile_of(plan, image, unit);
    clear<Pixel>(image, tile, innermost);
    for (int64_t row = 0; row < boxes.count; ++row) {
      if (image_index(boxes, row) != tile.n) continue;
      taps.fill(boxes, row, method, image.size[2], image.size[3]);
      if (innermost) {
        scatter_pixels<method>(grad_crops, row, taps, image, tile);
      } else {
        scatter_planes<method>(grad_crops, row, taps, image, tile);
      }
    }
  }
}

template <typename Pixel>
void grad_image_typed(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& image,
                      const GradImagePlan& plan, int64_t begin, int64_t end) {
  if (method == Method::kNearest) {
    grad_image_range<Method::kNearest, Pixel>(grad_crops, boxes, image, plan, begin, end);
  } else {
    grad_image_range<Method::kBilinear, Pixel>(grad_crops, boxes, image, plan, begin, end);
  }
}

}  // namespace

GradImagePlan plan_grad_image(const View& grad_image, int64_t threads) {
  const int64_t images = grad_image.size[0], channels = grad_image.size[1], height = grad_image.size[2];
  GradImagePlan plan{};
  if (channels_innermost(grad_image)) {
    const int64_t lines = divide_up(channels, kChannelsPerLine);
    plan.channel_block = divide_up(lines, std::min(lines, threads)) * kChannelsPerLine;
  } else {
    const int64_t plane_bytes = height * grad_image.size[3] * (grad_image.dtype == DType::kFloat64 ? 8 : 4);
    plan.channel_block = std::max<int64_t>(1, kCacheBytes / plane_bytes);
    // Not so few blocks that a thread idles.
    plan.channel_block = std::min(plan.channel_block, std::max<int64_t>(1, divide_up(channels, threads)));
  }
  plan.channel_blocks = divide_up(channels, plan.channel_block);
  // Rows are cut only when images and channels alone do not give every thread something to do.
  const int64_t blocks = std::max<int64_t>(1, images * plan.channel_blocks);
  plan.row_band = divide_up(height, std::min(height, divide_up(threads, blocks)));
  plan.row_bands = divide_up(height, plan.row_band);
  plan.units = images * plan.channel_blocks * plan.row_bands;
  return plan;
}

void grad_image(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                const GradImagePlan& plan, int64_t begin, int64_t end) {
  if (grad_image.dtype == DType::kFloat64) {
    grad_image_typed<double>(grad_crops, boxes, method, grad_image, plan, begin, end);
  } else {
    grad_image_typed<float>(grad_crops, boxes, method, grad_image, plan, begin, end);
  }
}

}  // namespace roi_align
