// roi_align's maximum, forward, where channels are the lanes of a vector: the value of the largest sample (largest.h),
// in largest_of's order, so that the first of equal ones stays, and the first NaN.

// The larger of two values in each lane, `best` where they are equal; of NaN the first.
template <typename Vector> ROI_ALIGN_INLINE Vector larger(const Vector& best, const Vector& value) {
  if constexpr (std::is_floating_point<Vector>::value) {
    return value <= best || best != best ? best : value;
  } else {
    return ((value <= best) | (best != best)) ? best : value;
  }
}

// low * (1 - weight) + high * weight, or what lies at both where that is one pixel.
template <typename G, typename T> ROI_ALIGN_INLINE G between(const T* low, const T* high, T weight) {
  G sum;
  sum.load(low);
  if (low == high) return sum;
  G other;
  other.load(high);
  sum.times(T(1) - weight);
  other.times(weight);
  sum.add(other);
  return sum;
}

// What a bin is worth, on paths whose lanes are channels. Samples are worked out a row of them at a time, as sample_at
// does: first the columns of pixels that they lie between, which neighbours share, then what lies between two columns.
template <typename T> struct Maximum {
  PoolRule rule;
  const RoiTables<T>* tables;
  PixelScratch<T>* scratch;

  template <typename G, bool stream>
  ROI_ALIGN_INLINE void pool(const RoiTable<T>& box, const Pixels<const T>& pixels, T* out, int64_t out_stride) const {
    const BoxSamples<T>& samples = tables->samples[static_cast<size_t>(&box - tables->boxes.data())];
    T* const row = scratch->columns_of(static_cast<int64_t>(samples.columns.size()) * G::kCount);
    T* const bins = scratch->sums_of(rule.width * G::kCount);
    for (int64_t i = 0; i < rule.height; ++i, out += rule.width * out_stride) {
      pool_row<G>(samples, samples.y.of(i), pixels, row, bins);
      for (int64_t j = 0; j < rule.width; ++j) {
        G largest;
        largest.load(bins + j * G::kCount);
        stream ? largest.stream(out + j * out_stride) : largest.store(out + j * out_stride);
      }
    }
  }

  // The bins of one row, by largest_of's rules for samples beyond the image.
  template <typename G>
  ROI_ALIGN_INLINE void pool_row(const BoxSamples<T>& samples, const BinSamples<T>& y, const Pixels<const T>& pixels,
                                 T* row, T* bins) const {
    std::fill(bins, bins + rule.width * G::kCount, T(0));
    for (int64_t iy = y.span.begin; iy < y.span.end; ++iy) {
      const Tap<T>& ty = y.template tap<T>(iy);
      const T *const top = pixels.at(ty.low, 0), *const bottom = pixels.at(ty.high, 0);
      for (size_t k = 0; k < samples.columns.size(); ++k) {
        const int64_t at = samples.columns[k] * pixels.pixel_stride;
        between<G>(top + at, bottom + at, ty.weight).store(row + static_cast<int64_t>(k) * G::kCount);
      }
      const bool first = iy == y.span.begin, last = iy == y.span.end - 1;
      for (int64_t j = 0; j < rule.width; ++j) {
        const BinSamples<T> x = samples.numbered.of(j);
        if (x.none()) continue;
        const bool before = y.before() || x.before();
        bool any = !first || before;  // then the bin holds a value already, the 0 of a sample beyond the image
        G best;
        best.load(bins + j * G::kCount);
        const auto offer = [&](const G& value) {
          for (size_t v = 0; v < std::size(value.of); ++v) {
            best.of[v] = any ? larger(best.of[v], value.of[v]) : value.of[v];
          }
          any = true;
        };
        for (int64_t ix = x.span.begin; ix < x.span.end; ++ix) {
          const Tap<T>& tx = x.template tap<T>(ix);
          offer(between<G>(row + tx.low * G::kCount, row + tx.high * G::kCount, tx.weight));
        }
        if (first && !before && x.after()) offer(G{});
        if (last && !before && !x.after() && y.after()) offer(G{});
        best.store(bins + j * G::kCount);
      }
    }
  }
};

// Where channels do not fill vectors: one by one.
inline void max_rows(const RoiJob& job, const View& crops, Part channels, int64_t begin, int64_t end) {
  std::vector<ConstView> maps;
  for (const Level& level : *job.levels) maps.push_back(level.map);
  roi_max_at_largest(job, maps, crops, channels, begin, end);
}
