// roi_align's maximum with channels as the lanes of a vector. A maximum is not separable: samples are computed and
// compared one by one, row by row, so that the first of equal samples wins, and the first NaN.
//
// This file has what the forward and the gradients share, and the forward; maximum_choices.inl and maximum_grads.inl
// have the gradients.

// Whether the largest value so far stays it, in each lane: the first of equal ones does, and the first NaN.
template <typename Vector> ROI_ALIGN_INLINE auto stays(const Vector& best, const Vector& value) {
  return (value <= best) | (best != best);
}

// One value in all lanes.
template <typename G, typename T> ROI_ALIGN_INLINE G in_all_lanes(T value) {
  G group;
  for (auto& vector : group.of) vector = value - typename G::Vector{};  // keeps -0, which a sum would not
  return group;
}

// low * (1 - weight) + high * weight.
template <typename G> ROI_ALIGN_INLINE G between(G low, G high, const G& weight) {
  low.times(in_all_lanes<G>(1.0f).minus(weight));
  high.times(weight);
  low.add(high);
  return low;
}

// The same in memory, or the value itself if both are one pixel: two pixels of an expanded map may have one address.
template <typename G, typename T>
ROI_ALIGN_INLINE G between(const T* low, const T* high, const G& weight, bool is_one) {
  G first, second;
  first.load(low);
  if (is_one) return first;
  second.load(high);
  return between(first, second, weight);
}

// The pixels that a box's samples read, by their numbers (samples.h): on a map, or in a copy.
template <typename T> struct SampledPixels {
  Pixels<T> pixels;
  const int64_t *rows, *columns;

  T* row(int64_t number) const { return pixels.at(rows[number], 0); }
  int64_t column(int64_t number) const { return columns[number] * pixels.pixel_stride; }
  T* at(int64_t y, int64_t x) const { return row(y) + column(x); }
};

template <typename T>
SampledPixels<T> sampled_pixels(const Pixels<T>& pixels, const BoxSamples<std::remove_const_t<T>>& samples) {
  return {pixels, samples.y.pixels.data(), samples.x.pixels.data()};
}

template <typename T> const BoxSamples<T>& samples_of(const RoiTables<T>& tables, const RoiTable<T>& box) {
  return tables.samples[static_cast<size_t>(&box - tables.boxes.data())];
}

// Calls bin(j, has_value, each) for every bin of bin row i that has samples: once, or several times if its rows of
// samples are many. each(offer) calls offer(value, iy, ix) for its samples, with -1, -1 for the 0 of samples beyond the
// image. `has_value` tells whether the bin has a value already; that may be the 0 of samples beyond the image.
//
// A row of samples computes the values at the columns of pixels first, which neighbouring samples share.
template <typename G, typename T, typename Bin>
ROI_ALIGN_INLINE void for_bins(const BoxSamples<T>& samples, int64_t i, int64_t width, SampledPixels<const T> from,
                               std::vector<T>* scratch, const Bin& bin) {
  const BinSamples<T> y = samples.y.of(i);
  const int64_t columns = static_cast<int64_t>(samples.x.pixels.size()), stride = columns * G::kCount;
  const int64_t together = bins_together<T>(columns, G::kCount, y.count);
  T* const rows = room(scratch, together * stride);
  for (int64_t begin = 0; begin < y.count; begin += together) {
    const int64_t end = std::min(y.count, begin + together);
    for (int64_t iy = begin; iy < end; ++iy) {
      const Tap<T> ty = y.taps[iy];
      const T *const top = from.row(ty.low), *const bottom = from.row(ty.high);
      const G weight_y = in_all_lanes<G>(ty.weight);
      T* const row = rows + (iy - begin) * stride;
      for (int64_t k = 0; k < columns; ++k) {
        const int64_t at = from.column(k);
        between(top + at, bottom + at, weight_y, ty.low == ty.high).store(row + k * G::kCount);
      }
    }
    for (int64_t j = 0; j < width; ++j) {
      const BinSamples<T> x = samples.x.of(j);
      if (x.count == 0) continue;
      const bool before = y.before > 0 || x.before > 0;
      bin(j, begin > 0 || before, [&](const auto& offer) {
        for (int64_t iy = begin; iy < end; ++iy) {
          const T* const row = rows + (iy - begin) * stride;
          for (int64_t ix = 0; ix < x.count; ++ix) {
            const Tap<T> tx = x.taps[ix];
            const G weight_x = in_all_lanes<G>(tx.weight);
            const T *const left = row + tx.low * G::kCount, *const right = row + tx.high * G::kCount;
            offer(between(left, right, weight_x, tx.low == tx.high), iy, ix);
          }
          // Samples beyond the image that come before all others are the value that the bin has; others are compared
          // once: after the first row, or after all rows.
          const bool after = x.after > 0 ? iy == 0 : y.after > 0 && iy == y.count - 1;
          if (!before && after) offer(G{}, -1, -1);
        }
      });
    }
  }
}

// The smallest value in all lanes: a maximum may begin with it.
template <typename G, typename T> ROI_ALIGN_INLINE G smallest() {
  return in_all_lanes<G>(-std::numeric_limits<T>::infinity());
}

// The maxima of a box, in a group of channels. Pixels of the result are `out_stride` values apart. Without `nan`, a
// comparison is one instruction, which may forget a NaN; returns whether there may have been one.
template <typename G, bool stream, bool nan, typename T>
ROI_ALIGN_INLINE bool pool_largest_of(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from,
                                      PixelScratch<T>& scratch, T* out, int64_t out_stride) {
  T* const bins = scratch.sums_of(rule.width * G::kCount);
  G total{};
  for (int64_t i = 0; i < rule.height; ++i, out += rule.width * out_stride) {
    std::fill(bins, bins + rule.width * G::kCount, T(0));
    for_bins<G>(samples, i, rule.width, from, &scratch.columns, [&](int64_t j, bool has_value, const auto& each) {
      G best = smallest<G, T>();
      if (has_value) best.load(bins + j * G::kCount);
      each([&](const G& value, int64_t, int64_t) {
        if constexpr (!nan) total.add(value);
        for (size_t v = 0; v < std::size(value.of); ++v) {
          auto& largest = best.of[v];
          if constexpr (nan) {
            largest = stays(largest, value.of[v]) ? largest : value.of[v];
          } else {
            largest = value.of[v] > largest ? value.of[v] : largest;  // one instruction
          }
        }
      });
      best.store(bins + j * G::kCount);
    });
    for (int64_t j = 0; j < rule.width; ++j) {
      G largest;
      largest.load(bins + j * G::kCount);
      if constexpr (stream) {
        largest.stream(out + j * out_stride);
      } else {
        largest.store(out + j * out_stride);
      }
    }
  }
  T totals[G::kCount];
  total.store(totals);
  return std::any_of(totals, totals + G::kCount, [](T value) { return value != value; });
}

// The same with NaNs, which are rare: a box that may have one is pooled twice.
template <typename G, bool stream, typename T>
ROI_ALIGN_INLINE void pool_largest(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from,
                                   PixelScratch<T>& scratch, T* out, int64_t out_stride) {
  if (pool_largest_of<G, stream, false>(samples, rule, from, scratch, out, out_stride)) {
    pool_largest_of<G, stream, true>(samples, rule, from, scratch, out, out_stride);
  }
}

// The maximum of a bin, on paths whose lanes are channels.
template <typename T> struct Maximum {
  PoolRule rule;
  const RoiTables<T>* tables;
  PixelScratch<T>* scratch;

  template <typename G, bool stream>
  ROI_ALIGN_INLINE void pool(const RoiTable<T>& box, const Pixels<const T>& pixels, T* out, int64_t out_stride) const {
    const BoxSamples<T>& samples = samples_of(*tables, box);
    pool_largest<G, stream>(samples, rule, sampled_pixels(pixels, samples), *scratch, out, out_stride);
  }
};

// Calls work(count, the first column on the map, its number) for the runs of columns that a box's samples read.
template <typename T, typename Work> void for_runs(const BoxSamples<T>& samples, const Work& work) {
  const std::vector<int64_t>& columns = samples.x.pixels;
  for (size_t first = 0, end = 0; first < columns.size(); first = end) {
    end = first + 1;
    while (end < columns.size() && columns[end] == columns[end - 1] + 1) ++end;
    work(static_cast<int64_t>(end - first), columns[first], static_cast<int64_t>(first));
  }
}

// A copy of the pixels that a box's samples read, in a group of channels of a map of any strides: for maps whose
// channels do not fill vectors, and for few boxes on a large map.
template <typename G, typename T> class Window {
 public:
  SampledPixels<T> read(const BoxSamples<T>& samples, const T* planes, const int64_t* stride, int64_t channels) {
    const int64_t rows = static_cast<int64_t>(samples.y.pixels.size());
    columns_ = static_cast<int64_t>(samples.x.pixels.size());
    T* const copy = room(&data_, rows * columns_ * G::kCount);
    for (int64_t row = 0; row < rows; ++row) {
      const T* const from = planes + samples.y.pixels[static_cast<size_t>(row)] * stride[2];
      for_runs(samples, [&](int64_t count, int64_t first, int64_t number) {
        pixels_in<G>(from + first * stride[3], stride[1], stride[3], channels, count,
                     copy + (row * columns_ + number) * G::kCount);
      });
    }
    while (static_cast<int64_t>(numbers_.size()) < std::max(rows, columns_)) {
      numbers_.push_back(static_cast<int64_t>(numbers_.size()));
    }
    return {Pixels<T>{copy, columns_ * G::kCount, G::kCount}, numbers_.data(), numbers_.data()};
  }

  // Writes the copy back to the map.
  void write(const BoxSamples<T>& samples, T* planes, const int64_t* stride, int64_t channels) const {
    for (size_t row = 0; row < samples.y.pixels.size(); ++row) {
      T* const to = planes + samples.y.pixels[row] * stride[2];
      for_runs(samples, [&](int64_t count, int64_t first, int64_t number) {
        pixels_out<G>(data_.data() + (static_cast<int64_t>(row) * columns_ + number) * G::kCount, count,
                      to + first * stride[3], stride[1], stride[3], channels);
      });
    }
  }

 private:
  std::vector<T> data_;
  std::vector<int64_t> numbers_;
  int64_t columns_ = 0;
};

// The pixels of one map in groups of channels, for one box after the other.
template <typename G, typename T> struct Source {
  TurnedBlock<T> turned;
  Window<G, T> window;

  SampledPixels<const T> of(const RoiTables<T>& tables, const RoiTable<T>& box, const ConstView& map, int64_t first,
                            int64_t channels) {
    const BoxSamples<T>& samples = samples_of(tables, box);
    const RoiPath path = tables.paths[static_cast<size_t>(box.map)];
    if (path == RoiPath::kTurned) {
      return sampled_pixels(Pixels<const T>{turned.of(map, box.image, first), map.size[3] * kBlock, kBlock}, samples);
    }
    const T* const planes = static_cast<const T*>(map.data) + box.image * map.stride[0] + first * map.stride[1];
    if (path == RoiPath::kPixels && channels == kBlock) {
      return sampled_pixels(Pixels<const T>{planes, map.stride[2], map.stride[3]}, samples);
    }
    const SampledPixels<T> copy = window.read(samples, planes, map.stride, channels);
    return {{copy.pixels.data, copy.pixels.row_stride, copy.pixels.pixel_stride}, copy.rows, copy.columns};
  }
};

// Calls work(box, the first channel, channels) for the boxes of a unit, in groups of channels.
template <typename G, typename T, typename Work>
void for_groups_of(const RoiTables<T>& tables, const RoiUnit& unit, int64_t inner, const Work& work) {
  const int64_t end = (unit.first + unit.channels) * inner;
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    for (int64_t first = unit.first * inner; first < end; first += G::kCount) {
      work(tables.boxes[static_cast<size_t>(k)], first, std::min(G::kCount, end - first));
    }
  }
}

// Calls work(a Group) with the lanes of copies and gradients: four if the channels fit (paths are then kRows).
template <typename T, typename Work> ROI_ALIGN_INLINE void with_lanes(const RoiJob& job, const Work& work) {
  if (job.channels <= kFewChannels) {
    work(FewGroup<T>());
  } else {
    work(TurnedGroup<T>());
  }
}

// Pools a map on kRows.
template <typename T>
void max_rows(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, PixelScratch<T>& scratch) {
  with_lanes<T>(job, [&](auto group) {
    using G = decltype(group);
    Source<G, T> source;
    T* const bins = scratch.bins_of(job.rule.height * job.rule.width * G::kCount);
    for_groups_of<G>(tables, unit, job.inner, [&](const RoiTable<T>& box, int64_t first, int64_t channels) {
      const ConstView& map = (*job.levels)[static_cast<size_t>(box.level)].map;
      pool_largest<G, false>(samples_of(tables, box), job.rule, source.of(tables, box, map, first, channels), scratch,
                             bins, G::kCount);
      bins_out<G>(job, bins, box.row, first, channels, crops);
    });
  });
}
