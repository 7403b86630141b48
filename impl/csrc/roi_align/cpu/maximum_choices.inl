// The largest sample of each bin, in each lane, for the gradients of roi_align's maximum.
//
// They search for the largest samples again, because an index for every output would be as large as the output. The
// lanes are channels, a group (with_lanes) for every layout and instruction set, and each lane may have another sample:
// samples between the same four pixels are processed together for all lanes whose largest is among them, with zeros in
// the others. So bins that are smaller than a pixel, which are many, read and write each pixel once.

// Where the largest sample of a bin is, in each lane: its place among the samples of the bin that are in reach, on each
// axis, or -1 for one beyond the image and for a bin without samples.
template <typename G> struct Choice {
  using Vector = typename G::Vector;
  using Integers = decltype(Vector{} == Vector{});
  using Integer = std::decay_t<decltype(Integers{}[0])>;
  static constexpr int64_t kIntegers = 2 * G::kCount, kLanes = G::kCount / G::kVectors;

  Integers y[G::kVectors], x[G::kVectors];

  // In memory a choice is kIntegers integers: the standard library aligns memory for the portable instruction set only.
  // Vectors are copied one by one, because a copy of the struct in smaller pieces would delay the loads of its vectors.
  static Choice load(const Integer* from) {
    Choice choice;
    for (int64_t v = 0; v < G::kVectors; ++v) {
      std::memcpy(&choice.y[v], from + 2 * v * kLanes, sizeof(Integers));
      std::memcpy(&choice.x[v], from + (2 * v + 1) * kLanes, sizeof(Integers));
    }
    return choice;
  }
  void store(Integer* to) const {
    for (int64_t v = 0; v < G::kVectors; ++v) {
      std::memcpy(to + 2 * v * kLanes, &y[v], sizeof(Integers));
      std::memcpy(to + (2 * v + 1) * kLanes, &x[v], sizeof(Integers));
    }
  }
};

// Some of the lanes of a group.
template <typename G> struct Mask {
  using Integers = typename Choice<G>::Integers;
  Integers of[G::kVectors];

  Mask(const Integers* places, int64_t place) {
    for (int64_t v = 0; v < G::kVectors; ++v) of[v] = places[v] == static_cast<typename Choice<G>::Integer>(place);
  }
  void retain(const Mask& other) {
    for (int64_t v = 0; v < G::kVectors; ++v) of[v] &= other.of[v];
  }
  void unite(const Mask& other) {
    for (int64_t v = 0; v < G::kVectors; ++v) of[v] |= other.of[v];
  }
  bool any() const {
    typename Choice<G>::Integer words[G::kCount], all = 0;
    std::memcpy(words, of, sizeof(words));
    for (auto word : words) all |= word;
    return all != 0;
  }
  // The values in the lanes of the mask, and `others` in the other ones.
  G select(const G& values, const G& others = G{}) const {
    G result;
    for (int64_t v = 0; v < G::kVectors; ++v) result.of[v] = of[v] ? values.of[v] : others.of[v];
    return result;
  }
};

// The samples begin <= i < end of a bin on one axis, which lie between the same two pixels, those of `tap`. `mask` has
// the lanes whose largest sample is one of them, and `weight` the weight of that sample in these lanes.
template <typename G, typename T> struct AxisCell {
  Tap<T> tap;
  int64_t begin, end;
  Mask<G> mask;
  G weight;

  AxisCell(const BinSamples<T>& bin, const typename Mask<G>::Integers* places, int64_t first)
      : tap(bin.taps[first]),
        begin(first),
        end(bin.ends[first]),
        mask(places, first),
        weight(in_all_lanes<G>(tap.weight)) {
    for (int64_t i = begin + 1; i < end; ++i) {
      const Mask<G> sample(places, i);
      weight = sample.select(in_all_lanes<G>(bin.taps[i].weight), weight);
      mask.unite(sample);
    }
  }
};

// Calls work(row, column, mask) for the largest samples of a bin: those between the same four pixels together, with the
// lanes that have one there. Nearly all of few samples are the largest in some lane, so those are not tested.
template <typename G, typename T, typename Work>
ROI_ALIGN_INLINE void for_largest(const Choice<G>& choice, const BinSamples<T>& y, const BinSamples<T>& x,
                                  const Work& work) {
  constexpr int64_t kFew = 4;
  const bool test = y.count * x.count > kFew;
  for (int64_t iy = 0; iy < y.count; iy = y.ends[iy]) {
    const AxisCell<G, T> row(y, choice.y, iy);
    if (test && !row.mask.any()) continue;
    for (int64_t ix = 0; ix < x.count; ix = x.ends[ix]) {
      const AxisCell<G, T> column(x, choice.x, ix);
      Mask<G> mask = column.mask;
      mask.retain(row.mask);
      if (!test || mask.any()) work(row, column, mask);
    }
  }
}

// A thread's scratch memory.
template <typename G, typename T> struct MaxScratch {
  Source<G, T> maps, values;
  Window<G, T> window;
  std::vector<T> rows, best, bins, sums;
  std::vector<typename Choice<G>::Integer> choices;
};

// Calls work(the index of the bin, its choice, y, x) for the bins of a box that have samples; y and x are its samples.
template <typename G, typename T, typename Work>
ROI_ALIGN_INLINE void for_choices(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from,
                                  MaxScratch<G, T>& scratch, const Work& work) {
  using Integers = typename Choice<G>::Integers;
  using Integer = typename Choice<G>::Integer;
  T* const bests = room(&scratch.best, rule.width * G::kCount);
  Integer* const choices = room(&scratch.choices, rule.width * Choice<G>::kIntegers);
  for (int64_t i = 0; i < rule.height; ++i) {
    const BinSamples<T> y = samples.y.of(i);
    if (y.count == 0) continue;
    std::fill_n(bests, rule.width * G::kCount, T(0));
    std::fill_n(choices, rule.width * Choice<G>::kIntegers, Integer(-1));
    for_bins<G>(samples, i, rule.width, from, &scratch.rows, [&](int64_t j, bool has_value, const auto& each) {
      G best = smallest<G, T>();
      Choice<G> choice = {};  // the first sample
      if (has_value) {
        best.load(bests + j * G::kCount);
        choice = Choice<G>::load(choices + j * Choice<G>::kIntegers);
      }
      each([&](const G& value, int64_t iy, int64_t ix) {
        for (int64_t v = 0; v < G::kVectors; ++v) {
          const Integers kept = stays(best.of[v], value.of[v]);
          best.of[v] = kept ? best.of[v] : value.of[v];
          choice.y[v] = kept ? choice.y[v] : Integers{} + static_cast<Integer>(iy);
          choice.x[v] = kept ? choice.x[v] : Integers{} + static_cast<Integer>(ix);
        }
      });
      best.store(bests + j * G::kCount);
      choice.store(choices + j * Choice<G>::kIntegers);
    });
    for (int64_t j = 0; j < rule.width; ++j) {
      work(i * rule.width + j, Choice<G>::load(choices + j * Choice<G>::kIntegers), y, samples.x.of(j));
    }
  }
}
