// roi_align's two steps where channels are the lanes of a vector: weighing and adding up, and, transposed, spreading.
//
// Both steps of the forward are one and the same: `count` sums over the taps of a bin, a constant step apart. For a bin
// of y they go along the columns of a map, for a bin of x along the bins of y that were made before. The taps of a bin
// are few and the same for all of them, so their number is a constant of the loop and their weights stay in registers.

// The channels of a pixel that are worked on together: `vectors` of them, or a single channel.
template <typename L, int64_t vectors> struct Group {
  using Vector = typename L::Vector;
  static constexpr int64_t kCount = vectors * L::kCount;
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
};

// One channel, where the last of them fill no vector.
template <typename T> struct OneLane {
  static constexpr int64_t kCount = 1;
  typedef T Vector;

  static T load(const T* from) { return *from; }
  static void store(T* to, T value) { *to = value; }
  static void stream(T* to, T value) { *to = value; }
};

// `count` groups of channels, `step` values apart.
template <typename T> struct Steps {
  T* data;
  int64_t step;
};

// Calls work(the number of taps) with a constant, or with 0 where they are more than a few.
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

// Bins of y whose columns are kept at a time: as many as a first-level cache has room for beside the map.
constexpr int64_t kColumnBytes = 16 * 1024;

template <typename T> int64_t bins_together(int64_t columns, int64_t group, int64_t height) {
  const int64_t bytes = std::max<int64_t>(1, columns) * group * static_cast<int64_t>(sizeof(T));
  return std::max<int64_t>(1, std::min(height, kColumnBytes / bytes));
}

// Channels of a map that lie innermost and are worked on together: as many as leave registers for their sums.
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

// Memory that is kept from one use to the next, as large as the largest of them asked for.
template <typename T> T* room(std::vector<T>* kept, int64_t values) {
  if (static_cast<int64_t>(kept->size()) < values) kept->resize(static_cast<size_t>(values));
  return kept->data();
}

// A thread's scratch where channels are the lanes.
template <typename T> struct PixelScratch {
  TurnedBlock<T> turned;
  std::vector<T> columns, bins, planes, sums;

  T* columns_of(int64_t values) { return room(&columns, values); }
  T* bins_of(int64_t values) { return room(&bins, values); }
  T* planes_of(int64_t values) { return room(&planes, values); }
  T* sums_of(int64_t values) { return room(&sums, values); }
};
