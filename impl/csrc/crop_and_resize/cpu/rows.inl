// crop_and_resize, forward, with too few channels to fill vectors: photographs, and planes that are not turned.
//
// A vector then holds samples of a row of a crop. A row is interpolated between columns first, then between rows, as in
// TensorFlow. Between columns every sample has its own pair of pixels; the two are adjacent, so a vector of samples is
// one load per pair and a shuffle.

// A result of this size leaves the caches before its last crop is written, so it is written past them.
constexpr int64_t kStreamBytes = int64_t{8} << 20;

// Whether the result is large and successive runs of `run` elements of the crops are whole lines of it.
template <typename T> bool streams(const View& crops, int64_t run) {
  const int64_t bytes = crops.size[0] * crops.size[1] * crops.size[2] * crops.size[3] * static_cast<int64_t>(sizeof(T));
  return bytes >= kStreamBytes && run * static_cast<int64_t>(sizeof(T)) % 64 == 0 &&
         reinterpret_cast<uintptr_t>(crops.data) % 64 == 0;
}

// The taps of a row of one box's crop as arrays, for vectors; AxisTaps has them sample by sample.
template <typename T> class Columns {
 public:
  void take(const AxisTaps<T>& taps) {
    begin = taps.begin;
    end = taps.end;
    low.resize(static_cast<size_t>(end));
    high.resize(low.size());
    weight.resize(low.size());
    for (int64_t x = begin; x < end; ++x) {
      low[x] = taps[x].low;
      high[x] = taps[x].high;
      weight[x] = taps[x].weight;
    }
    neighbours.assign(low.size(), 1);
    for (int64_t x = begin; x < end; ++x) neighbours[begin + (x - begin) / kCell * kCell] &= high[x] == low[x] + 1;
  }

  int64_t begin = 0, end = 0;
  std::vector<int64_t> low, high;
  std::vector<T> weight;
  std::vector<char> neighbours;  // for each kCell samples, at the first: whether the two pixels of each are adjacent
};

// Loads the pixels left and right of kCell samples.
template <typename T>
ROI_ALIGN_INLINE void load_sides(const T* row, const int64_t* low, const int64_t* high, bool neighbours,
                                 typename Cell<T>::Vector* left, typename Cell<T>::Vector* right) {
  using Vector = typename Cell<T>::Vector;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (neighbours) {
      typedef double Pairs __attribute__((vector_size(2 * sizeof(double))));
      double pairs[kCell];
      for (int64_t k = 0; k < kCell; ++k) std::memcpy(&pairs[k], row + low[k], sizeof(double));
      const auto first = reinterpret_cast<Vector>(Pairs{pairs[0], pairs[1]});
      const auto second = reinterpret_cast<Vector>(Pairs{pairs[2], pairs[3]});
      *left = __builtin_shufflevector(first, second, 0, 2, 4, 6);
      *right = __builtin_shufflevector(first, second, 1, 3, 5, 7);
      return;
    }
  }
  *left = Vector{row[low[0]], row[low[1]], row[low[2]], row[low[3]]};
  *right = Vector{row[high[0]], row[high[1]], row[high[2]], row[high[3]]};
}

// A cache of two rows of an image, interpolated between columns. Neighbouring rows of a crop share them: the lower row
// of one is often the upper row of the next, and in an enlarged crop many rows lie between the same two.
template <typename T> class ColumnRows {
 public:
  ColumnRows(int64_t crop_width, int64_t channels, int64_t image_width)
      : half_(crop_width * channels + kCell), image_width_(image_width), data_(static_cast<size_t>(2 * half_)) {}

  // Starts another box.
  void take(const AxisTaps<T>& taps) { columns_.take(taps); }

  // Starts another plane or image.
  void forget() { rows_[0] = rows_[1] = -1; }

  // The samples of an image's row, computed unless they are in the cache; row `other` stays in the cache.
  template <int channels>
  ROI_ALIGN_INLINE const T* at(int64_t row, int64_t other, const Pixels<const T>& image, int64_t count) {
    if (rows_[0] == row) return data_.data();
    if (rows_[1] == row) return data_.data() + half_;
    const int slot = rows_[0] == other ? 1 : 0;
    rows_[slot] = row;
    T* const samples = data_.data() + slot * half_;
    make<channels>(image.at(row, 0), image.pixel_stride, count, samples);
    return samples;
  }

 private:
  // `channels` is the number of channels if it is a constant; else it is 0, and `count` is the number.
  template <int channels>
  ROI_ALIGN_INLINE void make(const T* pixels, int64_t pixel_stride, int64_t count, T* samples) const {
    using Vector = typename Cell<T>::Vector;
    const int64_t *const low = columns_.low.data(), *const high = columns_.high.data();
    const T* const weight = columns_.weight.data();
    int64_t x = columns_.begin;
    if (channels == 1 && pixel_stride == 1) {
      for (; x + kCell <= columns_.end; x += kCell) {
        Vector left, right, weights;
        load_sides(pixels, low + x, high + x, columns_.neighbours[static_cast<size_t>(x)] != 0, &left, &right);
        Cell<T>::load(weight + x, &weights);
        Cell<T>::store(samples + x, left + (right - left) * weights);
      }
    }
    for (; x < columns_.end; ++x) {
      const T *const left = pixels + low[x] * pixel_stride, *const right = pixels + high[x] * pixel_stride;
      // A cell of three channels also reads one number of the next pixel, which the last pixel of a row may not have,
      // nor one whose pixels are all the same memory. The next sample overwrites the result of that number.
      const bool has_next = pixel_stride > 0 && std::max(low[x], high[x]) + 1 < image_width_;
      if (channels == kCell || (channels == 3 && has_next)) {
        Vector from, to;
        Cell<T>::load(left, &from);
        Cell<T>::load(right, &to);
        Cell<T>::store(samples + x * channels, from + (to - from) * weight[x]);
      } else {
        for (int64_t c = 0; c < (channels > 0 ? channels : count); ++c) {
          samples[x * (channels > 0 ? channels : count) + c] = left[c] + (right[c] - left[c]) * weight[x];
        }
      }
    }
  }

  const int64_t half_, image_width_;
  std::vector<T> data_;
  Columns<T> columns_;
  int64_t rows_[2] = {-1, -1};  // the image's rows in the cache
};

// out[i] = top[i] + (bottom[i] - top[i]) * ly; `stream` writes past the caches, for whole lines of a large result.
template <bool stream, typename T>
ROI_ALIGN_INLINE void interpolate_rows(const T* top, const T* bottom, T ly, int64_t begin, int64_t end, T* out) {
  using L = Lanes<T>;
  int64_t i = begin;
  for (; i + L::kCount <= end; i += L::kCount) {
    const auto above = L::load(top + i);
    const auto value = above + (L::load(bottom + i) - above) * ly;
    stream ? L::stream(out + i, value) : L::store(out + i, value);
  }
  for (; i < end; ++i) out[i] = top[i] + (bottom[i] - top[i]) * ly;
}

// One box's crop of a plane, or of all channels of an image with few channels.
template <Method method, int channels, typename T>
void crop_rows(const Pixels<const T>& image, int64_t count, const BoxTaps<T>& taps, T extrapolation, T* out,
               int64_t crop_height, int64_t crop_width, bool stream, ColumnRows<T>& rows) {
  const int64_t begin = taps.x.begin * count, end = taps.x.end * count, width = crop_width * count;
  rows.forget();
  for (int64_t y = 0; y < crop_height; ++y, out += width) {
    if (y < taps.y.begin || y >= taps.y.end) {
      std::fill(out, out + width, extrapolation);
      continue;
    }
    std::fill(out, out + begin, extrapolation);
    const Tap<T>& ty = taps.y[y];
    if (method == Method::kNearest) {
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const T* const pixel = image.at(ty.low, taps.x[x].low);
        for (int64_t c = 0; c < count; ++c) out[x * count + c] = pixel[c];
      }
    } else {
      const T* const top = rows.template at<channels>(ty.low, ty.high, image, count);
      const T* const bottom = rows.template at<channels>(ty.high, ty.low, image, count);
      if (stream && begin == 0 && end == width) {
        interpolate_rows<true>(top, bottom, ty.weight, begin, end, out);
      } else {
        interpolate_rows<false>(top, bottom, ty.weight, begin, end, out);
      }
    }
    std::fill(out + end, out + width, extrapolation);
  }
}

// One box's crop of an image whose channels are innermost and too few to fill vectors.
template <Method method, typename T>
void crop_few_channels(const Pixels<const T>& image, int64_t channels, const BoxTaps<T>& taps, T extrapolation, T* out,
                       const View& crops, bool stream, ColumnRows<T>& rows) {
  const int64_t height = crops.size[2], width = crops.size[3];
  rows.take(taps.x);
  switch (channels) {
    case 3: return crop_rows<method, 3>(image, 3, taps, extrapolation, out, height, width, stream, rows);
    case 4: return crop_rows<method, 4>(image, 4, taps, extrapolation, out, height, width, stream, rows);
    default: return crop_rows<method, 0>(image, channels, taps, extrapolation, out, height, width, stream, rows);
  }
}
