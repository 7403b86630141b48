// The gradient of the image on the CPU: every crop pixel is handed back to the four pixels that it was read from.
//
// Boxes overlap, so many samples add to one pixel. Instead of atomics, a unit of work owns pixels (a block of channels
// in a band of rows) and goes over all boxes of its image; what falls outside of it is some other unit's. Sums are then
// made in the order of the boxes at every pixel, which is TensorFlow's order and is the same for any number of threads.
//
// A unit sums in a scratch that stays in the second-level cache, its channels innermost whatever the layout, and writes
// its part of the gradient once, past the caches if the gradient is large. The loop that matters is `scatter_channels`:
// one sample, all channels of the unit; for images of a few channels it is `scatter_cells`. With few samples on a large
// map `scatter_planes` adds to planes where they lie.

struct Tile {
  int64_t n, channel_begin, channel_end, row_begin, row_end;

  int64_t channels() const { return channel_end - channel_begin; }
  int64_t rows() const { return row_end - row_begin; }
  bool has_row(int64_t row) const { return row >= row_begin && row < row_end; }
  bool meets(const BoxSpan& box) const { return box.first_row < row_end && box.last_row >= row_begin; }
};

inline Tile tile_of(const Plan& plan, const View& image, int64_t unit) {
  const Part rows = part_of(0, image.size[2], unit % plan.parts, plan.parts);
  const int64_t block = unit / plan.parts % plan.channel_blocks;
  return {unit / plan.parts / plan.channel_blocks, block * plan.channel_block,
          std::min(image.size[1], (block + 1) * plan.channel_block), rows.begin, rows.end};
}

// The boxes that may send anything to a tile, in their order.
inline const std::vector<int64_t>& reaching(const Tile& tile, const BoxTable& boxes, std::vector<int64_t>* rows) {
  rows->clear();
  for (int64_t position = boxes.first_of(tile.n); position < boxes.first_of(tile.n + 1); ++position) {
    const int64_t row = boxes.row_at(position);
    if (tile.meets(boxes.span(row))) rows->push_back(row);
  }
  return *rows;
}

// The samples of a box that send anything to a tile; positions are monotonic, so they are neighbours.
template <typename T>
Part rows_for(const Tile& tile, const AxisTaps<T>& taps) {
  const auto meets = [&](int64_t y) { return tile.has_row(taps[y].low) || tile.has_row(taps[y].high); };
  Part part{taps.begin, taps.end};
  while (part.begin < part.end && !meets(part.begin)) ++part.begin;
  while (part.begin < part.end && !meets(part.end - 1)) --part.end;
  return part;
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

// Rows y_begin to y_end of one box's upstream gradient, all inside. Inlined, so that a constant number of channels stays one.
template <Method method, typename T>
ROI_ALIGN_INLINE void scatter_pixels(const Pixels<const T>& grad, const BoxTaps<T>& taps, int64_t y_begin,
                                     int64_t y_end, const Pixels<T>& image, const Tile& tile, int64_t channels) {
  for (int64_t y = y_begin; y < y_end; ++y) {
    const Tap<T>& ty = taps.y[y];
    const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
    T* top = has_top ? image.at(ty.low, 0) : nullptr;
    T* bottom = has_bottom ? image.at(ty.high, 0) : nullptr;
    const T* row = grad.at(y, 0);
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
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

// One box's upstream gradient, all channels of the tile, into pixels whose channels are innermost. If its own channels
// are not, it is turned, a block of channels and a few rows at a time. `next_row` is the box that follows.
template <Method method, typename T>
void scatter_box(const ConstView& grad_crops, int64_t row, const BoxTaps<T>& taps, const Pixels<T>& sums,
                 const Tile& tile, std::vector<T>& scratch, int64_t next_row) {
  const int64_t height = grad_crops.size[2], width = grad_crops.size[3];
  const T* const crops = static_cast<const T*>(grad_crops.data) + tile.channel_begin * grad_crops.stride[1];
  const T *const crop = crops + row * grad_crops.stride[0], *const next = crops + next_row * grad_crops.stride[0];
  const Part wanted = rows_for(tile, taps.y);
  if (wanted.begin == wanted.end) return;
  if (grad_crops.stride[1] == 1) {
    const Pixels<const T> grad{crop, grad_crops.stride[2], grad_crops.stride[3]};
    if (tile.channels() == kBlock) {
      scatter_pixels<method>(grad, taps, wanted.begin, wanted.end, sums, tile, kBlock);
    } else {
      scatter_pixels<method>(grad, taps, wanted.begin, wanted.end, sums, tile, tile.channels());
    }
    return;
  }
  // A few blocks are turned side by side, so that a sample's taps serve all of their channels.
  constexpr int64_t kTogether = 4 * kBlock;
  const int64_t rows = tile_rows<T>(height, width);
  scratch.resize(static_cast<size_t>(rows * width * kTogether));
  for (int64_t first = 0; first < tile.channels(); first += kTogether) {
    const int64_t channels = std::min(kTogether, tile.channels() - first);
    const Pixels<T> target{sums.data + first, sums.row_stride, sums.pixel_stride, sums.first_row};
    for (int64_t y = wanted.begin; y < wanted.end; y += rows) {
      const int64_t y_end = std::min(wanted.end, y + rows);
      // A turn of less than a vector of pixels is slow, so rows that nobody asked for may come along.
      const int64_t from = std::max<int64_t>(0, std::min(y, y_end - (Lanes<T>::kCount + width - 1) / width));
      for (int64_t block = 0; block < channels; block += kBlock) {
        if (y == wanted.begin) {
          const int64_t expected = std::min(kBlock, channels - block) * grad_crops.stride[1];
          expect(next + (first + block) * grad_crops.stride[1], expected);
        }
        turn_rows_in<kTogether>(crop + (first + block) * grad_crops.stride[1] + from * grad_crops.stride[2],
                                grad_crops.stride[1], grad_crops.stride[2], grad_crops.stride[3],
                                std::min(kBlock, channels - block), y_end - from, width, scratch.data() + block);
      }
      const Pixels<const T> grad{scratch.data(), width * kTogether, kTogether, from};
      if (channels == kBlock) {
        scatter_pixels<method>(grad, taps, y, y_end, target, tile, kBlock);
      } else {
        scatter_pixels<method>(grad, taps, y, y_end, target, tile, channels);
      }
    }
  }
}

// The two pixels of a row that a sample adds to, held in registers while samples keep adding to them. Without that every
// addition would wait for the store of the one before.
template <typename T>
struct HeldPixels {
  typename Cell<T>::Vector left, right;
  T* row;
  int64_t at = -1;

  explicit HeldPixels(T* row) : left{}, right{}, row(row) {}

  ROI_ALIGN_INLINE void move_to(int64_t low) {
    if (low == at) return;
    if (at >= 0 && low == at + 1) {
      Cell<T>::store(row + at * kCell, left);
      left = right;
    } else {
      put_back();
      Cell<T>::load(row + low * kCell, &left);
    }
    Cell<T>::load(row + (low + 1) * kCell, &right);
    at = low;
  }

  ROI_ALIGN_INLINE void put_back() {
    if (at < 0) return;
    Cell<T>::store(row + at * kCell, left);
    Cell<T>::store(row + (at + 1) * kCell, right);
  }

  // As scatter_channels: at an integer position both pixels are the left one.
  ROI_ALIGN_INLINE void add(const Tap<T>& tap, const typename Cell<T>::Vector& value) {
    left += (T(1) - tap.weight) * value;
    if (tap.high == tap.low) {
      left += tap.weight * value;
    } else {
      right += tap.weight * value;
    }
  }
};

// One box's upstream gradient of an image of up to four channels into cells. `spare` is a row for what falls outside of
// the tile; rows have one cell more than the image has columns.
template <Method method, int channels, typename T>
void scatter_cells(const ConstView& grad_crops, int64_t row, const BoxTaps<T>& taps, const Pixels<T>& sums,
                   const Tile& tile, T* spare) {
  using Vector = typename Cell<T>::Vector;
  const Part wanted = rows_for(tile, taps.y);
  const T* const crop = static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0];
  const auto row_of = [&](int64_t y) { return tile.has_row(y) ? sums.at(y, 0) : spare; };
  for (int64_t y = wanted.begin; y < wanted.end; ++y) {
    const Tap<T>& ty = taps.y[y];
    const T* const grad = crop + y * grad_crops.stride[2];
    HeldPixels<T> top(row_of(ty.low)), bottom(row_of(ty.high));
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
      Vector g;
      gather_cell<channels>(grad + x * grad_crops.stride[3], grad_crops.stride[1], &g);
      if (method == Method::kNearest) {
        T* const pixel = top.row + tx.low * kCell;
        Vector sum;
        Cell<T>::load(pixel, &sum);
        Cell<T>::store(pixel, sum + g);
        continue;
      }
      top.move_to(tx.low);
      top.add(tx, (T(1) - ty.weight) * g);
      if (ty.low == ty.high) {
        top.add(tx, ty.weight * g);
        continue;
      }
      bottom.move_to(tx.low);
      bottom.add(tx, ty.weight * g);
    }
    top.put_back();
    bottom.put_back();
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
      const Tap<T>& ty = taps.y[y];
      const bool has_top = tile.has_row(ty.low), has_bottom = tile.has_row(ty.high);
      if (!has_top && !has_bottom) continue;
      T* top = plane + ty.low * image.stride[2];
      T* bottom = plane + ty.high * image.stride[2];
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<T>& tx = taps.x[x];
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

// A run of the gradient, of zeros if there is nothing to copy, past the caches if it is a part of a large result and
// consists of whole lines.
template <typename T>
void write_run(const T* from, int64_t count, T* to, bool large) {
  const bool lines = (reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(count * sizeof(T))) % 64 == 0;
  if (large && lines) {
    using L = Lanes<T>;
    for (int64_t i = 0; i < count; i += L::kCount) {
      L::stream(to + i, from == nullptr ? typename L::Vector{} : L::load(from + i));
    }
  } else if (from == nullptr) {
    std::fill(to, to + count, T(0));
  } else {
    std::copy(from, from + count, to);
  }
}

// What a tile of cells sums to, into planes or pixels. The number of channels is a constant.
template <int channels, typename T>
void write_cells(const Pixels<T>& sums, const View& image, const Tile& tile) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0];
  for (int64_t y = tile.row_begin; y < tile.row_end; ++y) {
    const T* const cells = sums.at(y, 0);
    T* const row = base + y * image.stride[2];
    if (image.stride[3] == 1) {
      for (int c = 0; c < channels; ++c) {
        for (int64_t x = 0; x < image.size[3]; ++x) row[c * image.stride[1] + x] = cells[x * kCell + c];
      }
    } else {
      for (int64_t x = 0; x < image.size[3]; ++x) {
        for (int c = 0; c < channels; ++c) row[x * channels + c] = cells[x * kCell + c];
      }
    }
  }
}

// Zeros for a tile that no box reaches, and for what is added to in place.
template <typename T>
void clear(const View& image, const Tile& tile, bool large) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2];
  const int64_t pixels = tile.rows() * image.size[3];
  if (image.stride[1] != 1 || image.size[1] == 1) {
    for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
      write_run<T>(nullptr, pixels, base + c * image.stride[1], large);
    }
  } else if (tile.channels() == image.size[1]) {
    write_run<T>(nullptr, pixels * image.size[1], base, large);
  } else {
    for (int64_t i = 0; i < pixels; ++i) {
      write_run<T>(nullptr, tile.channels(), base + i * image.size[1] + tile.channel_begin, large);
    }
  }
}

// The sums of a tile, channels innermost and `stride` apart, into the gradient.
template <typename T>
void write_sums(const T* sums, int64_t stride, const View& image, const Tile& tile, Path path, bool large) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2] +
                  tile.channel_begin * image.stride[1];
  const int64_t pixels = tile.rows() * image.size[3];
  if (path == Path::kTurned) {
    turn_group_out(sums, stride, pixels, base, image.stride[1], tile.channels(), large);
  } else if (stride == image.size[1]) {
    write_run(sums, pixels * stride, base, large);
  } else {
    for (int64_t i = 0; i < pixels; ++i) write_run(sums + i * stride, stride, base + i * image.size[1], large);
  }
}

template <Method method, int channels, typename T>
void grad_image_cells(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                      Units* units) {
  const bool large = streams<T>(image, 0);
  const int64_t row_stride = (image.size[3] + 1) * kCell;
  std::vector<T> scratch, spare(static_cast<size_t>(row_stride));
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    const std::vector<int64_t>& rows = reaching(tile, boxes, &reached);
    if (rows.empty()) {
      clear<T>(image, tile, large);
      continue;
    }
    scratch.assign(static_cast<size_t>(tile.rows() * row_stride), T(0));
    const Pixels<T> sums{scratch.data(), row_stride, kCell, tile.row_begin};
    for (const int64_t row : rows) {
      scatter_cells<method, channels>(grad_crops, row, boxes.taps<T>(row), sums, tile, spare.data());
    }
    write_cells<channels>(sums, image, tile);
  }
  stream_fence();
}

template <Method method, typename T>
void grad_image_direct(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                       Units* units) {
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    clear<T>(image, tile, false);
    for (const int64_t row : reaching(tile, boxes, &reached)) {
      scatter_planes<method>(grad_crops, row, boxes.taps<T>(row), image, tile);
    }
  }
}

template <Method method, typename T>
void grad_image_by(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                   Units* units) {
  const int64_t width = image.size[3];
  const bool large = streams<T>(image, 0);
  std::vector<T> scratch, turned;
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    // Blocks of planes are full in the scratch, so that they can be turned out.
    const int64_t stride = plan.path == Path::kTurned ? plan.channel_block : tile.channels();
    const std::vector<int64_t>& rows = reaching(tile, boxes, &reached);
    if (rows.empty()) {
      clear<T>(image, tile, large);
      continue;
    }
    scratch.assign(static_cast<size_t>(tile.rows() * width * stride), T(0));
    const Pixels<T> sums{scratch.data(), width * stride, stride, tile.row_begin};
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t next = rows[std::min(i + 1, rows.size() - 1)];
      scatter_box<method>(grad_crops, rows[i], boxes.taps<T>(rows[i]), sums, tile, turned, next);
    }
    write_sums(scratch.data(), stride, image, tile, plan.path, large);
  }
  stream_fence();
}

template <Method method, typename T>
void grad_image_in(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                   Units* units) {
  if (plan.path == Path::kDirect) return grad_image_direct<method, T>(grad_crops, boxes, image, plan, units);
  if (plan.path != Path::kCells) return grad_image_by<method, T>(grad_crops, boxes, image, plan, units);
  switch (image.size[1]) {
    case 1:
      return grad_image_cells<method, 1, T>(grad_crops, boxes, image, plan, units);
    case 2:
      return grad_image_cells<method, 2, T>(grad_crops, boxes, image, plan, units);
    case 3:
      return grad_image_cells<method, 3, T>(grad_crops, boxes, image, plan, units);
    default:
      return grad_image_cells<method, 4, T>(grad_crops, boxes, image, plan, units);
  }
}

template <typename T>
void grad_image_of(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& image,
                   const Plan& plan, Units* units) {
  if (method == Method::kNearest) {
    grad_image_in<Method::kNearest, T>(grad_crops, boxes, image, plan, units);
  } else {
    grad_image_in<Method::kBilinear, T>(grad_crops, boxes, image, plan, units);
  }
}

void grad_image(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& image, const Plan& plan,
                Units* units) {
  if (image.dtype == DType::kFloat64) {
    grad_image_of<double>(grad_crops, boxes, method, image, plan, units);
  } else {
    grad_image_of<float>(grad_crops, boxes, method, image, plan, units);
  }
}
