// roi_align's two steps with channels as the lanes of a vector: weighing, which sums, and its transpose, spreading.
//
// Both steps of the forward are the same: `count` sums over the taps of a bin, a constant step apart. A bin of y sums
// along the columns of a map, a bin of x along the results of the bins of y. A bin has few taps, which all of its sums
// share, so the number of taps is a constant of the loop and the weights stay in registers.

// The channels of a pixel that are processed together: `vectors` vectors, or a single channel.
template <typename L, int64_t vectors> struct Group {
  using Vector = typename L::Vector;
  static constexpr int64_t kVectors = vectors, kCount = vectors * L::kCount;
  Vector of[vectors];

  template <typename T> ROI_ALIGN_INLINE void load(const T* from) {
    for (int64_t v = 0; v < vectors; ++v) of[v] = L::load(from + v * L::kCount);
  }
  template <typename T> ROI_ALIGN_INLINE void store(T* to) const {
    for (int64_t v = 0; v < vectors; ++v) L::store(to + v * L::kCount, of[v]);
  }
  template <typename T> ROI_ALIGN_INLINE void stream(T* to) const {
    for (int64_t v = 0; v < vectors; ++v) L::stream(to + v * L::kCount, of[v]);
  }
  template <typename T> ROI_ALIGN_INLINE void times(T weight) {
    for (int64_t v = 0; v < vectors; ++v) of[v] = weight * of[v];
  }
  ROI_ALIGN_INLINE void times(const Group& other) {
    for (int64_t v = 0; v < vectors; ++v) of[v] = of[v] * other.of[v];
  }
  ROI_ALIGN_INLINE void add(const Group& other) {
    for (int64_t v = 0; v < vectors; ++v) of[v] += other.of[v];
  }
  ROI_ALIGN_INLINE Group minus(const Group& other) const {
    Group difference;
    for (int64_t v = 0; v < vectors; ++v) difference.of[v] = of[v] - other.of[v];
    return difference;
  }
};

// One channel, for the last ones, which do not fill a vector.
template <typename T> struct OneLane {
  static constexpr int64_t kCount = 1;
  typedef T Vector;

  static T load(const T* from) { return *from; }
  static void store(T* to, T value) { *to = value; }
  static void stream(T* to, T value) { *to = value; }
};

// A vector of four: for the end of a run, which is a multiple of four long if the map is wide enough, and for the
// maximum of few channels.
template <typename T> struct Four {
  static constexpr int64_t kCount = 4;
  typedef T Vector __attribute__((vector_size(4 * sizeof(T))));

  static Vector load(const T* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
  }
  static void store(T* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(vector)); }
};

// `count` groups of channels, `step` values apart.
template <typename T> struct Steps {
  T* data;
  int64_t step;
};

// Calls work with the number of taps as a constant, or with 0 if there are more than four.
template <typename Work> ROI_ALIGN_INLINE void with_taps(int64_t taps, const Work& work) {
  switch (taps) {
    case 1: return work(std::integral_constant<int64_t, 1>());
    case 2: return work(std::integral_constant<int64_t, 2>());
    case 3: return work(std::integral_constant<int64_t, 3>());
    case 4: return work(std::integral_constant<int64_t, 4>());
    default: return work(std::integral_constant<int64_t, 0>());
  }
}

// to[n] = sum over taps of weight * from[at * stride + n], each a group of channels; zeros without taps.
template <typename G, bool stream, typename T>
ROI_ALIGN_INLINE void weigh_groups(const BinTap<T>* begin, const BinTap<T>* end, const Steps<const T>& from,
                                   int64_t stride, int64_t count, const Steps<T>& to) {
  if (begin == end) {
    for (int64_t n = 0; n < count; ++n) std::fill_n(to.data + n * to.step, G::kCount, T(0));
    return;
  }
  with_taps(end - begin, [&](auto constant) {
    constexpr int64_t kTaps = decltype(constant)::value;
    const int64_t taps = kTaps > 0 ? kTaps : end - begin;
    const T* lines[kTaps > 0 ? kTaps : 1];
    for (int64_t k = 0; k < kTaps; ++k) lines[k] = from.data + begin[k].at * stride;
    for (int64_t n = 0; n < count; ++n) {
      const auto product = [&](int64_t k) {
        G group;
        group.load((kTaps > 0 ? lines[k] : from.data + begin[k].at * stride) + n * from.step);
        group.times(begin[k].weight);
        return group;
      };
      G sum = product(0);
      for (int64_t k = 1; k < taps; ++k) sum.add(product(k));
      stream ? sum.stream(to.data + n * to.step) : sum.store(to.data + n * to.step);
    }
  });
}

// to[at * stride + n] += weight * values[n], for every tap.
template <typename G, typename T>
ROI_ALIGN_INLINE void spread_groups(const BinTap<T>* begin, const BinTap<T>* end, const Steps<const T>& values,
                                    int64_t stride, int64_t count, const Steps<T>& to) {
  for (const BinTap<T>* tap = begin; tap < end; ++tap) {
    T* const line = to.data + tap->at * stride;
    const T weight = tap->weight;
    for (int64_t n = 0; n < count; ++n) {
      G sum, product;
      product.load(values.data + n * values.step);
      product.times(weight);
      sum.load(line + n * to.step);
      sum.add(product);
      sum.store(line + n * to.step);
    }
  }
}

// The bins of y whose columns are in scratch memory at a time: as many as fit the first-level cache beside the map.
constexpr int64_t kColumnBytes = 16 * 1024;

template <typename T> int64_t bins_together(int64_t columns, int64_t group, int64_t height) {
  const int64_t bytes = std::max<int64_t>(1, columns) * group * static_cast<int64_t>(sizeof(T));
  return std::max<int64_t>(1, std::min(height, kColumnBytes / bytes));
}

// Vectors of innermost channels that are processed together: as many as leave registers for their sums.
constexpr int64_t kPixelVectors = 4;

// Calls work(a Group, the first channel) until all channels are covered: whole vectors first, single channels last.
template <typename T, typename Work> ROI_ALIGN_INLINE void for_groups(int64_t channels, const Work& work) {
  using L = Lanes<T>;
  int64_t c = 0;
  for (; c + kPixelVectors * L::kCount <= channels; c += kPixelVectors * L::kCount) work(Group<L, kPixelVectors>(), c);
  for (; c + L::kCount <= channels; c += L::kCount) work(Group<L, 1>(), c);
  for (; c < channels; ++c) work(Group<OneLane<T>, 1>(), c);
}

// A turned block: kBlock channels.
template <typename T> using TurnedGroup = Group<Lanes<T>, kBlock / Lanes<T>::kCount>;

// Very few channels, for the maximum: four lanes.
template <typename T>
using FewGroup = std::conditional_t<(Lanes<T>::kCount > 4), Group<Four<T>, 1>, Group<Lanes<T>, 4 / Lanes<T>::kCount>>;

// block[i] = the channels of pixel i of `planes`, a group each; missing channels become 0.
template <typename G, typename T>
void pixels_in(const T* planes, int64_t plane_stride, int64_t pixel_stride, int64_t channels, int64_t count, T* block) {
  if constexpr (G::kCount == kBlock) {
    turn_in<kBlock>(planes, plane_stride, pixel_stride, channels, count, block);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < G::kCount; ++c) {
        block[i * G::kCount + c] = c < channels ? planes[c * plane_stride + i * pixel_stride] : T(0);
      }
    }
  }
}

template <typename G, typename T>
void pixels_out(const T* block, int64_t count, T* planes, int64_t plane_stride, int64_t pixel_stride,
                int64_t channels) {
  if (G::kCount == kBlock && pixel_stride == 1) return turn_out(block, count, planes, plane_stride, channels);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i * pixel_stride] = block[i * G::kCount + c];
  }
}

// The strides of crops, which are dense and have the layout of the maps.
struct CropStrides {
  int64_t bins, crop, plane, pixel;

  explicit CropStrides(const RoiJob& job)
      : bins(job.rule.height * job.rule.width),
        crop(bins * job.channels),
        plane(!job.pixels && job.inner == 1 ? bins : 1),
        pixel(plane == 1 ? job.channels : 1) {}
};

// The bins of one box, in a group of channels from `first` on.
template <typename G, typename T>
void bins_in(const RoiJob& job, const T* crops, int64_t row, int64_t first, int64_t channels, T* block) {
  const CropStrides of(job);
  pixels_in<G>(crops + row * of.crop + first * of.plane, of.plane, of.pixel, channels, of.bins, block);
}

template <typename G, typename T>
void bins_out(const RoiJob& job, const T* block, int64_t row, int64_t first, int64_t channels, T* crops) {
  const CropStrides of(job);
  pixels_out<G>(block, of.bins, crops + row * of.crop + first * of.plane, of.plane, of.pixel, channels);
}

// Memory for `values` values; the buffer grows and is reused by later calls.
template <typename T> T* room(std::vector<T>* buffer, int64_t values) {
  if (static_cast<int64_t>(buffer->size()) < values) buffer->resize(static_cast<size_t>(values));
  return buffer->data();
}

// A thread's scratch memory on paths whose lanes are channels.
template <typename T> struct PixelScratch {
  TurnedBlock<T> turned;
  std::vector<T> columns, bins, planes, sums;

  T* columns_of(int64_t values) { return room(&columns, values); }
  T* bins_of(int64_t values) { return room(&bins, values); }
  T* planes_of(int64_t values) { return room(&planes, values); }
  T* sums_of(int64_t values) { return room(&sums, values); }
};
