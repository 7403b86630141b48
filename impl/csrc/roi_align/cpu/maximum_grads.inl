// The gradients of roi_align's maximum: all that a bin receives goes to its largest sample.
//
// They search for the largest samples again, because an index for every output would be as large as the output. The
// lanes are channels, a group (with_lanes) for every layout and instruction set, and each lane may have another sample:
// a sample is processed once for all lanes whose largest it is, with zeros in the others.

// Where the largest sample of a bin is, in each lane: its place among the samples of the bin that are in reach, on each
// axis, or -1 for one beyond the image and for a bin without samples.
template <typename G> struct Choice {
  using Vector = typename G::Vector;
  using Integers = decltype(Vector{} == Vector{});
  using Integer = std::decay_t<decltype(Integers{}[0])>;
  static constexpr int64_t kIntegers = 2 * G::kCount;

  Integers y[G::kVectors], x[G::kVectors];

  // In memory a choice is kIntegers integers: the standard library aligns memory for the portable instruction set only.
  static Choice load(const Integer* from) {
    Choice choice;
    std::memcpy(&choice, from, sizeof(choice));
    return choice;
  }
  void store(Integer* to) const { std::memcpy(to, this, sizeof(*this)); }
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

// Calls work(iy, ix, mask) for every sample of a bin that is the largest in some lanes. Nearly all of few samples are,
// so those are not tested.
template <typename G, typename Work>
ROI_ALIGN_INLINE void for_largest(const Choice<G>& choice, int64_t rows, int64_t columns, const Work& work) {
  constexpr int64_t kFew = 4;
  const bool test = rows * columns > kFew;
  for (int64_t iy = 0; iy < rows; ++iy) {
    const Mask<G> row(choice.y, iy);
    if (test && !row.any()) continue;
    for (int64_t ix = 0; ix < columns; ++ix) {
      Mask<G> mask(choice.x, ix);
      mask.retain(row);
      if (!test || mask.any()) work(iy, ix, mask);
    }
  }
}

// A thread's scratch memory.
template <typename G, typename T> struct MaxScratch {
  Source<G, T> maps, values;
  Window<G, T> window;
  std::vector<T> row, best, bins, sums;
  std::vector<typename Choice<G>::Integer> choices;
};

// Calls work(the index of the bin, its choice, y, x) for the bins of a box that have samples; y and x are its samples.
template <typename G, typename T, typename Work>
ROI_ALIGN_INLINE void for_choices(const BoxSamples<T>& samples, const PoolRule& rule,
                                  const SampledPixels<const T>& from, MaxScratch<G, T>& scratch, const Work& work) {
  using Integers = typename Choice<G>::Integers;
  using Integer = typename Choice<G>::Integer;
  T* const row = room(&scratch.row, static_cast<int64_t>(samples.x.pixels.size()) * G::kCount);
  T* const bests = room(&scratch.best, rule.width * G::kCount);
  Integer* const choices = room(&scratch.choices, rule.width * Choice<G>::kIntegers);
  for (int64_t i = 0; i < rule.height; ++i) {
    const BinSamples<T> y = samples.y.of(i);
    if (y.count == 0) continue;
    std::fill_n(bests, rule.width * G::kCount, T(0));
    std::fill_n(choices, rule.width * Choice<G>::kIntegers, Integer(-1));
    for_bins<G>(samples, i, rule.width, from, row, [&](int64_t j, bool has_value, const auto& each) {
      G best;
      best.load(bests + j * G::kCount);
      Choice<G> choice = Choice<G>::load(choices + j * Choice<G>::kIntegers);
      each([&](const G& value, int64_t iy, int64_t ix) {
        for (int64_t v = 0; v < G::kVectors; ++v) {
          const Integers kept = has_value ? (value.of[v] <= best.of[v]) | (best.of[v] != best.of[v]) : Integers{};
          best.of[v] = kept ? best.of[v] : value.of[v];
          choice.y[v] = kept ? choice.y[v] : Integers{} + static_cast<Integer>(iy);
          choice.x[v] = kept ? choice.x[v] : Integers{} + static_cast<Integer>(ix);
        }
        has_value = true;
      });
      best.store(bests + j * G::kCount);
      choice.store(choices + j * Choice<G>::kIntegers);
    });
    for (int64_t j = 0; j < rule.width; ++j) {
      work(i * rule.width + j, Choice<G>::load(choices + j * Choice<G>::kIntegers), y, samples.x.of(j));
    }
  }
}

// Calls visit(pixel, weight) for the pixels of a tap.
template <typename T, typename Visit> ROI_ALIGN_INLINE void for_pixels(const Tap<T>& tap, const Visit& visit) {
  if (tap.low == tap.high) return visit(tap.low, T(1));
  visit(tap.low, T(1) - tap.weight);
  visit(tap.high, tap.weight);
}

// Adds the upstream gradient of each bin to the pixels of its largest sample.
template <typename G, typename T>
void spread_largest(const BoxSamples<T>& samples, const PoolRule& rule, const SampledPixels<const T>& from,
                    const T* grad, const SampledPixels<T>& sums, MaxScratch<G, T>& scratch) {
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G upstream;
    upstream.load(grad + bin * G::kCount);
    for_largest(choice, y.count, x.count, [&](int64_t iy, int64_t ix, const Mask<G>& mask) {
      const G values = mask.select(upstream);
      for_pixels(x.taps[ix], [&](int64_t column, T weight_x) {
        G share = values;
        share.times(weight_x);
        for_pixels(y.taps[iy], [&](int64_t row, T weight_y) {
          T* const pixel = sums.at(row, column);
          G part = share, sum;
          part.times(weight_y);
          sum.load(pixel);
          sum.add(part);
          sum.store(pixel);
        });
      });
    });
  });
}

template <typename G, typename T>
void max_grad_map(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const View& map, const RoiUnit& unit,
                  MaxScratch<G, T>& scratch) {
  const RoiPath path = tables.paths[static_cast<size_t>(unit.map)];
  const bool by_rows = path == RoiPath::kRows;
  const int64_t inner = by_rows ? job.inner : 1, size = map.size[2] * map.size[3];
  // Whole groups, also for channels that fill none.
  const int64_t stride = divide_up(unit.channels, G::kCount) * G::kCount;
  T* const image = static_cast<T*>(map.data) + unit.map % job.images * map.stride[0];
  T* const sums = by_rows ? nullptr : room(&scratch.sums, size * stride);
  if (by_rows) {
    std::fill_n(image + unit.first * size * inner, unit.channels * size * inner, T(0));  // dense: one run
  } else {
    std::fill_n(sums, size * stride, T(0));
  }
  T* const bins = room(&scratch.bins, job.rule.height * job.rule.width * G::kCount);
  const ConstView& features = (*job.levels)[static_cast<size_t>(unit.map / job.images)].map;
  for_groups_of<G>(tables, unit, inner, [&](const RoiTable<T>& box, int64_t first, int64_t channels) {
    const BoxSamples<T>& samples = samples_of(tables, box);
    const SampledPixels<const T> from = scratch.maps.of(tables, box, features, first, channels);
    bins_in<G>(job, grad, box.row, first, channels, bins);
    if (by_rows) {
      T* const planes = image + first * map.stride[1];
      spread_largest(samples, job.rule, from, bins, scratch.window.read(samples, planes, map.stride, channels),
                     scratch);
      scratch.window.write(samples, planes, map.stride, channels);
    } else {
      const Pixels<T> block{sums + first - unit.first, map.size[3] * stride, stride};
      spread_largest(samples, job.rule, from, bins, sampled_pixels(block, samples), scratch);
    }
  });
  if (path == RoiPath::kTurned) {
    turn_group_out(sums, kBlock, size, image + unit.first * size, size, unit.channels, true);
  } else if (path == RoiPath::kPixels) {
    write_pixels(sums, stride, size, unit.channels, image + unit.first, job.channels);
  }
}

// What the sums of an axis's samples, a group each, contribute to the two edges.
template <typename G, typename T> EndSums ends_of(const AxisSamples<T>& axis, const T* sums) {
  EndSums ends;
  for (size_t i = 0; i < axis.moves.size(); ++i) {
    const SampleMove& move = axis.moves[i];
    if (move.low == move.high) continue;
    ends.add<G::kCount>(move.slopes.a1, move.slopes.a2, sums + static_cast<int64_t>(i) * G::kCount);
  }
  return ends;
}

// The gradient of one box over a group of channels: an edge moves the largest sample between two pixels. The samples of
// a row or of a column move alike, so those have sums, in T; they are weighted by the movement in double.
template <typename G, typename T>
void max_grad_box(const BoxSamples<T>& samples, const PoolRule& rule, const SampledPixels<const T>& from, const T* grad,
                  MaxScratch<G, T>& scratch, double* result) {
  const int64_t rows = static_cast<int64_t>(samples.y.moves.size());
  const int64_t count = (rows + static_cast<int64_t>(samples.x.moves.size())) * G::kCount;
  T* const sums_y = room(&scratch.sums, count);
  T* const sums_x = sums_y + rows * G::kCount;
  std::fill_n(sums_y, count, T(0));
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G upstream;
    upstream.load(grad + bin * G::kCount);
    for_largest(choice, y.count, x.count, [&](int64_t iy, int64_t ix, const Mask<G>& mask) {
      const Tap<T>&ty = y.taps[iy], &tx = x.taps[ix];
      const SampleMove &move_y = samples.y.moves[static_cast<size_t>(y.first + iy)],
                       &move_x = samples.x.moves[static_cast<size_t>(x.first + ix)];
      const auto add = [&](const G& low, const G& high, T* to) {
        G product, sum;
        for (int64_t v = 0; v < G::kVectors; ++v) product.of[v] = high.of[v] - low.of[v];
        product.times(upstream);
        sum.load(to);
        sum.add(mask.select(product));
        sum.store(to);
      };
      if (move_y.low != move_y.high) {
        const auto value = [&](int64_t row) {
          return between<G>(from.at(row, tx.low), from.at(row, tx.high), tx.weight);
        };
        add(value(move_y.low), value(move_y.high), sums_y + (y.first + iy) * G::kCount);
      }
      if (move_x.low != move_x.high) {
        const auto value = [&](int64_t column) {
          return between<G>(from.at(ty.low, column), from.at(ty.high, column), ty.weight);
        };
        add(value(move_x.low), value(move_x.high), sums_x + (x.first + ix) * G::kCount);
      }
    });
  });
  write_ends(ends_of<G>(samples.y, sums_y), ends_of<G>(samples.x, sums_x), result);
}

// Pools `values` at the largest samples of `from`.
template <typename G, typename T>
void pool_at_largest(const BoxSamples<T>& samples, const PoolRule& rule, const SampledPixels<const T>& from,
                     const SampledPixels<const T>& values, T* out, MaxScratch<G, T>& scratch) {
  std::fill_n(out, rule.height * rule.width * G::kCount, T(0));
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G result{};
    for_largest(choice, y.count, x.count, [&](int64_t iy, int64_t ix, const Mask<G>& mask) {
      const Tap<T>&ty = y.taps[iy], &tx = x.taps[ix];
      T low[G::kCount], high[G::kCount];
      between<G>(values.at(ty.low, tx.low), values.at(ty.high, tx.low), ty.weight).store(low);
      between<G>(values.at(ty.low, tx.high), values.at(ty.high, tx.high), ty.weight).store(high);
      const G value = between<G>(static_cast<const T*>(low), tx.low == tx.high ? low : high, tx.weight);
      result = mask.select(value, result);
    });
    result.store(out + bin * G::kCount);
  });
}

// Calls work(tables, unit, scratch) for the units that a thread takes.
template <typename G, typename T, typename Work>
void for_units(const RoiJob& job, const RoiUnits& work, Units* units, const Work& one) {
  MaxScratch<G, T> scratch;
  for (int64_t index; units->take(&index);) {
    one(*static_cast<const RoiTables<T>*>(job.tables), work[static_cast<size_t>(index)], scratch);
  }
}

// Calls work(a Group, a T) for the lanes and the type of a job.
template <typename Work> void with_max_types(const RoiJob& job, const Work& work) {
  if (job.dtype == DType::kFloat64) {
    with_lanes<double>(job, [&](auto group) { work(group, double()); });
  } else {
    with_lanes<float>(job, [&](auto group) { work(group, float()); });
  }
}

void roi_max_grad_maps(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiUnits& work,
                       Units* units) {
  with_max_types(job, [&](auto group, auto type) {
    using G = decltype(group);
    using T = decltype(type);
    for_units<G, T>(job, work, units, [&](const RoiTables<T>& tables, const RoiUnit& unit, auto& scratch) {
      const View& map = maps[static_cast<size_t>(unit.map / job.images)];
      max_grad_map(job, tables, static_cast<const T*>(grad), map, unit, scratch);
    });
  });
  stream_fence();
}

void roi_max_grad_boxes(const RoiJob& job, const void* grad, double* partial, const RoiUnits& work, Units* units) {
  with_max_types(job, [&](auto group, auto type) {
    using G = decltype(group);
    using T = decltype(type);
    for_units<G, T>(job, work, units, [&](const RoiTables<T>& tables, const RoiUnit& unit, auto& scratch) {
      T* const bins = room(&scratch.bins, job.rule.height * job.rule.width * G::kCount);
      for_groups_of<G>(tables, unit, 1, [&](const RoiTable<T>& box, int64_t first, int64_t channels) {
        const ConstView& map = (*job.levels)[static_cast<size_t>(box.level)].map;
        bins_in<G>(job, static_cast<const T*>(grad), box.row, first, channels, bins);
        max_grad_box(samples_of(tables, box), job.rule, scratch.maps.of(tables, box, map, first, channels),
                     static_cast<const T*>(bins), scratch, partial_of(job, partial, box.row, first));
      });
    });
  });
}

void roi_at_largest(const RoiJob& job, const std::vector<ConstView>& values, const View& crops, const RoiUnits& work,
                    Units* units) {
  with_max_types(job, [&](auto group, auto type) {
    using G = decltype(group);
    using T = decltype(type);
    for_units<G, T>(job, work, units, [&](const RoiTables<T>& tables, const RoiUnit& unit, auto& scratch) {
      T* const bins = room(&scratch.bins, job.rule.height * job.rule.width * G::kCount);
      const bool by_rows = tables.paths[static_cast<size_t>(unit.map)] == RoiPath::kRows;
      const int64_t inner = by_rows ? job.inner : 1;
      for_groups_of<G>(tables, unit, inner, [&](const RoiTable<T>& box, int64_t first, int64_t channels) {
        const size_t level = static_cast<size_t>(box.level);
        pool_at_largest(samples_of(tables, box), job.rule,
                        scratch.maps.of(tables, box, (*job.levels)[level].map, first, channels),
                        scratch.values.of(tables, box, values[level], first, channels), bins, scratch);
        bins_out<G>(job, bins, box.row, first, channels, static_cast<T*>(crops.data));
      });
    });
  });
}
