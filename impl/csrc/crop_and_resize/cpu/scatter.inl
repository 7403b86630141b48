// What one box sends to a tile of the image's gradient: the loops that matter.
//
// `scatter_channels` takes one sample and all channels of the unit, for images of a few channels `scatter_cells` does;
// with few samples on a large map `scatter_planes` adds to planes where they lie.

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

template <typename T> void add_channels(T* pixel, const T* grad, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) pixel[c] += grad[c];
}

// Rows y_begin to y_end of one box's upstream gradient, all inside. Inlined, so that a constant number of channels
// stays one.
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

// The pixels left and right of a sample in the rows that it adds to, one or two of them side by side in a vector, held
// in registers while samples keep adding to them. Without that every addition would wait for the store of the one
// before.
template <typename T, int rows> struct HeldPixels {
  typedef T Vector __attribute__((vector_size(rows * kCell * sizeof(T))));
  using Row = typename Cell<T>::Vector;

  Vector left, right;
  T *first, *second;  // of one row the first
  int64_t at = -1;

  HeldPixels(T* first, T* second) : left{}, right{}, first(first), second(second) {}

  // A value for each row. (A vector that is returned would change the calling convention between instruction sets.)
  static ROI_ALIGN_INLINE void beside(const Row& upper, const Row& lower, Vector* to) {
    if constexpr (rows == 1) {
      *to = upper;
    } else {
      *to = __builtin_shufflevector(upper, lower, 0, 1, 2, 3, 4, 5, 6, 7);
    }
  }

  ROI_ALIGN_INLINE void load(int64_t pixel, Vector* to) const {
    Row upper, lower{};
    Cell<T>::load(first + pixel * kCell, &upper);
    if (rows == 2) Cell<T>::load(second + pixel * kCell, &lower);
    beside(upper, lower, to);
  }

  ROI_ALIGN_INLINE void store(int64_t pixel, const Vector& from) const {
    if constexpr (rows == 1) {
      Cell<T>::store(first + pixel * kCell, from);
    } else {
      Cell<T>::store(first + pixel * kCell, __builtin_shufflevector(from, from, 0, 1, 2, 3));
      Cell<T>::store(second + pixel * kCell, __builtin_shufflevector(from, from, 4, 5, 6, 7));
    }
  }

  ROI_ALIGN_INLINE void move_to(int64_t low) {
    if (low == at) return;
    if (at >= 0 && low == at + 1) {
      store(at, left);
      left = right;
    } else {
      put_back();
      load(low, &left);
    }
    load(low + 1, &right);
    at = low;
  }

  ROI_ALIGN_INLINE void put_back() const {
    if (at < 0) return;
    store(at, left);
    store(at + 1, right);
  }

  // As scatter_channels: at an integer position both pixels are the left one.
  ROI_ALIGN_INLINE void add(const Tap<T>& tap, const Vector& value) {
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
    T *const top = row_of(ty.low), *const bottom = row_of(ty.high);
    const auto upstream = [&](int64_t x, Vector* g) {
      gather_cell<channels>(grad + x * grad_crops.stride[3], grad_crops.stride[1], g);
    };
    Vector g;
    if (method == Method::kNearest) {
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        T* const pixel = top + taps.x[x].low * kCell;
        Vector sum;
        upstream(x, &g);
        Cell<T>::load(pixel, &sum);
        Cell<T>::store(pixel, sum + g);
      }
    } else if (ty.low == ty.high) {
      HeldPixels<T, 1> held(top, nullptr);
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        upstream(x, &g);
        held.move_to(taps.x[x].low);
        held.add(taps.x[x], (T(1) - ty.weight) * g);
        held.add(taps.x[x], ty.weight * g);
      }
      held.put_back();
    } else if constexpr (2 * kCell * sizeof(T) <= ROI_ALIGN_VECTOR_BYTES) {
      HeldPixels<T, 2> held(top, bottom);
      typename HeldPixels<T, 2>::Vector shares, both;
      held.beside(Vector{} + (T(1) - ty.weight), Vector{} + ty.weight, &shares);
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        upstream(x, &g);
        held.beside(g, g, &both);
        held.move_to(taps.x[x].low);
        held.add(taps.x[x], shares * both);
      }
      held.put_back();
    } else {
      HeldPixels<T, 1> upper(top, nullptr), lower(bottom, nullptr);
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        upstream(x, &g);
        upper.move_to(taps.x[x].low);
        upper.add(taps.x[x], (T(1) - ty.weight) * g);
        lower.move_to(taps.x[x].low);
        lower.add(taps.x[x], ty.weight * g);
      }
      upper.put_back();
      lower.put_back();
    }
  }
}

template <Method method, typename T>
void scatter_planes(const ConstView& grad_crops, int64_t row, const BoxTaps<T>& taps, const View& image,
                    const Tile& tile) {
  for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
    const T* grad = static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0] + c * grad_crops.stride[1];
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
