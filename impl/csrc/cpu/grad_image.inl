// The gradient of the image on the CPU: every crop pixel is handed back to the four pixels that it was read from.
//
// Boxes overlap, so many samples add to one pixel. Instead of atomics, a unit of work owns pixels (a block of channels
// in a band of rows) and walks over all boxes of its image; what falls outside of it is some other unit's. Sums are then
// made in the order of the boxes at every pixel, which is TensorFlow's order and is the same for any number of threads.
//
// The loop that matters is `scatter_channels`: one sample, all channels of the unit. Planes that get many samples are
// summed in a turned block (lanes.inl) and turned once at the end; with few samples `scatter_planes` adds in place.

struct Tile {
  int64_t n, channel_begin, channel_end, row_begin, row_end;

  int64_t channels() const { return channel_end - channel_begin; }
  bool has_row(int64_t row) const { return row >= row_begin && row < row_end; }
};

inline Tile tile_of(const Plan& plan, const View& image, int64_t unit) {
  const Part rows = part_of(image.size[2], unit % plan.parts, plan.parts);
  const int64_t block = unit / plan.parts % plan.channel_blocks;
  return {unit / plan.parts / plan.channel_blocks, block * plan.channel_block,
          std::min(image.size[1], (block + 1) * plan.channel_block), rows.begin, rows.end};
}

// pixel[c] += wx * (wy * grad[c]) for the pixels left and right. They are the same one at an integer position, so each
// is read after the one before it was written.
template <typename T>
ROI_ALIGN_INLINE void scatter_channels(T* left, T* right, T lx, T wy, const T* grad, int64_t channels) {
  constexpr int64_t kCount = Lanes<T>::kCount;
  int64_t c = 0;
  for (; c + kCount <= channels; c += kCount) {
    const auto row = wy * Lanes<T>::load(grad + c);
    Lanes<T>::store(left + c, Lanes<T>::load(left + c) + (T(1) - lx) * row);
    Lanes<T>::store(right + c, Lanes<T>::load(right + c) + lx * row);
  }
  for (; c < channels; ++c) {
    const T row = wy * grad[c];
    left[c] += (T(1) - lx) * row;
    right[c] += lx * row;
  }
}

template <typename T>
void add_channels(T* pixel, const T* grad, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) pixel[c] += grad[c];
}

// Rows y_begin to y_end of one box's upstream gradient. Inlined, so that a constant number of channels stays one.
template <Method method, typename T>
ROI_ALIGN_INLINE void scatter_pixels(const Pixels<const T>& grad, const BoxTaps<T>& taps, int64_t y_begin,
                                     int64_t y_end, const Pixels<T>& image, const Tile& tile, int64_t channels) {
  for (int64_t y = std::max(y_begin, taps.y.begin); y < std::min(y_end, taps.y.end); ++y) {
    const Tap<T> ty = taps.y[y];
    const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
    T* top = has_top ? image.at(ty.low, 0) : nullptr;
    T* bottom = has_bottom ? image.at(ty.high, 0) : nullptr;
    const T* row = grad.at(y, 0);
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T> tx = taps.x[x];
      const T* g = row + x * grad.pixel_stride;
      const int64_t left = tx.low * image.pixel_stride, right = tx.high * image.pixel_stride;
      if (method == Method::kNearest) {
        if (has_top) add_channels(top + left, g, channels);
        continue;
      }
      if (has_top) scatter_channels(top + left, top + right, tx.weight, T(1) - ty.weight, g, channels);
      if (has_bottom) scatter_channels(bottom + left, bottom + right, tx.weight, ty.weight, g, channels);
    }
  }
}

// Reads planes of a crop once, in the order in which they lie: a turn takes sixteen of them at a time, and what is not
// yet in a cache then arrives more slowly than as one run. Not a step past the last element: a view may end with its
// memory.
template <typename T>
void bring_in(const T* planes, const ConstView& crops, int64_t channels) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T)), kMost = (64 << 10) / static_cast<int64_t>(sizeof(T));
  const int64_t last = (channels - 1) * crops.stride[1] + (crops.size[2] - 1) * crops.stride[2] +
                       (crops.size[3] - 1) * crops.stride[3];
  for (int64_t i = 0; i <= std::min(last, kMost); i += kLine) {
    const T value = planes[i];
    asm volatile("" : : "m"(value));  // or the compiler would see that nobody needs it
  }
}

// One box's upstream gradient, all channels of the tile, into pixels whose channels are innermost. If its own channels
// are not, it is turned, a block of channels and a few rows at a time.
template <Method method, typename T>
void scatter_box(const ConstView& grad_crops, int64_t row, const BoxTaps<T>& taps, const Pixels<T>& image,
                 const Tile& tile, std::vector<T>& scratch) {
  const int64_t height = grad_crops.size[2], width = grad_crops.size[3];
  const T* crop = static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0] +
                  tile.channel_begin * grad_crops.stride[1];
  if (grad_crops.stride[1] == 1) {
    const Pixels<const T> grad{crop, grad_crops.stride[2], grad_crops.stride[3]};
    if (tile.channels() == kBlock) {
      scatter_pixels<method>(grad, taps, 0, height, image, tile, kBlock);
    } else {
      scatter_pixels<method>(grad, taps, 0, height, image, tile, tile.channels());
    }
    return;
  }
  bring_in(crop, grad_crops, tile.channels());
  // A few blocks are turned side by side, so that a sample's taps serve all of their channels.
  constexpr int64_t kTogether = 4 * kBlock;
  const int64_t rows = tile_rows<T>(height, width);
  scratch.resize(static_cast<size_t>(rows * width * kTogether));
  for (int64_t first = 0; first < tile.channels(); first += kTogether) {
    const int64_t channels = std::min(kTogether, tile.channels() - first);
    const Pixels<T> target{image.data + first, image.row_stride, image.pixel_stride, image.first_row};
    for (int64_t y = 0; y < height; y += rows) {
      const int64_t y_end = std::min(height, y + rows);
      for (int64_t block = 0; block < channels; block += kBlock) {
        turn_rows_in<kTogether>(crop + (first + block) * grad_crops.stride[1] + y * grad_crops.stride[2],
                                grad_crops.stride[1], grad_crops.stride[2], grad_crops.stride[3],
                                std::min(kBlock, channels - block), y_end - y, width, scratch.data() + block);
      }
      const Pixels<const T> grad{scratch.data(), width * kTogether, kTogether, y};
      if (channels == kBlock) {
        scatter_pixels<method>(grad, taps, y, y_end, target, tile, kBlock);
      } else {
        scatter_pixels<method>(grad, taps, y, y_end, target, tile, channels);
      }
    }
  }
}

template <Method method, typename T>
void scatter_planes(const ConstView& grad_crops, int64_t row, const BoxTaps<T>& taps, const View& image,
                    const Tile& tile) {
  for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
    const T* grad =
        static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0] + c * grad_crops.stride[1];
    T* plane = static_cast<T*>(image.data) + tile.n * image.stride[0] + c * image.stride[1];
    for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
      const Tap<T> ty = taps.y[y];
      const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
      if (!has_top && !has_bottom) continue;
      T* top = plane + ty.low * image.stride[2];
      T* bottom = plane + ty.high * image.stride[2];
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<T> tx = taps.x[x];
        const T g = grad[y * grad_crops.stride[2] + x * grad_crops.stride[3]];
        if (method == Method::kNearest) {
          top[tx.low] += g;
          continue;
        }
        if (has_top) {
          const T dtop = (T(1) - ty.weight) * g;
          top[tx.low] += (T(1) - tx.weight) * dtop;
          top[tx.high] += tx.weight * dtop;
        }
        if (has_bottom) {
          const T dbottom = ty.weight * g;
          bottom[tx.low] += (T(1) - tx.weight) * dbottom;
          bottom[tx.high] += tx.weight * dbottom;
        }
      }
    }
  }
}

// The image is dense: in planes the rows of a tile are one run of each plane, with channels innermost a run of channels
// of each pixel.
template <typename T>
void clear(const View& image, const Tile& tile, Path path) {
  T* base = static_cast<T*>(image.data) + tile.n * image.stride[0];
  const int64_t width = image.size[3], rows = tile.row_end - tile.row_begin;
  if (path == Path::kDirect) {
    for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
      T* run = base + c * image.stride[1] + tile.row_begin * width;
      std::fill(run, run + rows * width, T(0));
    }
    return;
  }
  for (int64_t i = tile.row_begin * width; i < tile.row_end * width; ++i) {
    std::fill(base + i * image.size[1] + tile.channel_begin, base + i * image.size[1] + tile.channel_end, T(0));
  }
}

template <Method method, typename T>
void grad_image_by(const ConstView& grad_crops, const BoxList& boxes, const View& image, const Plan& plan,
                   int64_t begin, int64_t end) {
  const int64_t height = image.size[2], width = image.size[3];
  BoxTaps<T> taps(grad_crops.size[2], grad_crops.size[3]);
  std::vector<T> scratch, turned;
  for (int64_t unit = begin; unit < end; ++unit) {
    const Tile tile = tile_of(plan, image, unit);
    T* base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.channel_begin * image.stride[1];
    Pixels<T> pixels{base, image.stride[2], image.stride[3]};
    if (plan.path == Path::kTurned) {
      const int64_t pixel_stride = plan.channel_block;
      turned.assign(static_cast<size_t>((tile.row_end - tile.row_begin) * width * pixel_stride), T(0));
      pixels = {turned.data(), width * pixel_stride, pixel_stride, tile.row_begin};
    } else {
      clear<T>(image, tile, plan.path);
    }
    for (int64_t row = 0; row < boxes.count; ++row) {
      if (image_index(boxes, row) != tile.n) continue;
      taps.fill(boxes, row, method, height, width);
      if (plan.path == Path::kDirect) {
        scatter_planes<method>(grad_crops, row, taps, image, tile);
      } else {
        scatter_box<method>(grad_crops, row, taps, pixels, tile, scratch);
      }
    }
    if (plan.path == Path::kTurned) {
      turn_group_out(turned.data(), plan.channel_block, (tile.row_end - tile.row_begin) * width,
               base + tile.row_begin * width, image.stride[1], tile.channels());
    }
  }
}

template <typename T>
void grad_image_of(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& image,
                   const Plan& plan, int64_t begin, int64_t end) {
  if (method == Method::kNearest) {
    grad_image_by<Method::kNearest, T>(grad_crops, boxes, image, plan, begin, end);
  } else {
    grad_image_by<Method::kBilinear, T>(grad_crops, boxes, image, plan, begin, end);
  }
}

void grad_image(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& image, const Plan& plan,
                int64_t begin, int64_t end) {
  if (image.dtype == DType::kFloat64) {
    grad_image_of<double>(grad_crops, boxes, method, image, plan, begin, end);
  } else {
    grad_image_of<float>(grad_crops, boxes, method, image, plan, begin, end);
  }
}
