// The gradients of roi_align's maximum: all that a bin receives goes to its largest sample (maximum_choices.inl).

// Calls visit(pixel, weight) for the pixels of a cell.
template <typename G, typename T, typename Visit>
ROI_ALIGN_INLINE void for_pixels(const AxisCell<G, T>& cell, const Visit& visit) {
  const G one = in_all_lanes<G>(1.0f);
  if (cell.tap.low == cell.tap.high) return visit(cell.tap.low, one);
  visit(cell.tap.low, one.minus(cell.weight));
  visit(cell.tap.high, cell.weight);
}

// Adds the upstream gradient of each bin to the pixels of its largest sample.
template <typename G, typename T>
void spread_largest(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from, const T* grad,
                    SampledPixels<T> sums, MaxScratch<G, T>& scratch) {
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G upstream;
    upstream.load(grad + bin * G::kCount);
    for_largest(choice, y, x, [&](const auto& row, const auto& column, const Mask<G>& mask) {
      const G values = mask.select(upstream);
      for_pixels(column, [&](int64_t at_x, const G& weight_x) {
        G share = values;
        share.times(weight_x);
        const int64_t offset = sums.column(at_x);
        for_pixels(row, [&](int64_t at_y, const G& weight_y) {
          T* const pixel = sums.row(at_y) + offset;
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
void max_grad_box(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from, const T* grad,
                  MaxScratch<G, T>& scratch, double* result) {
  const int64_t rows = static_cast<int64_t>(samples.y.moves.size());
  const int64_t count = (rows + static_cast<int64_t>(samples.x.moves.size())) * G::kCount;
  T* const sums_y = room(&scratch.sums, count);
  T* const sums_x = sums_y + rows * G::kCount;
  std::fill_n(sums_y, count, T(0));
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G upstream;
    upstream.load(grad + bin * G::kCount);
    for_largest(choice, y, x, [&](const auto& row, const auto& column, const Mask<G>& mask) {
      const SampleMove &move_y = samples.y.moves[static_cast<size_t>(y.first + row.begin)],
                       &move_x = samples.x.moves[static_cast<size_t>(x.first + column.begin)];
      const auto add = [&](const G& low, const G& high, const auto& cell, const auto* places, T* to) {
        G product = high.minus(low);
        product.times(upstream);
        for (int64_t i = cell.begin; i < cell.end; ++i) {
          Mask<G> sample(places, i);
          sample.retain(mask);
          G sum;
          sum.load(to + i * G::kCount);
          sum.add(sample.select(product));
          sum.store(to + i * G::kCount);
        }
      };
      if (move_y.low != move_y.high) {
        const auto value = [&](int64_t at) {
          const Tap<T>& tap = column.tap;
          return between<G>(from.at(at, tap.low), from.at(at, tap.high), column.weight, tap.low == tap.high);
        };
        add(value(move_y.low), value(move_y.high), row, choice.y, sums_y + y.first * G::kCount);
      }
      if (move_x.low != move_x.high) {
        const auto value = [&](int64_t at) {
          const Tap<T>& tap = row.tap;
          return between<G>(from.at(tap.low, at), from.at(tap.high, at), row.weight, tap.low == tap.high);
        };
        add(value(move_x.low), value(move_x.high), column, choice.x, sums_x + x.first * G::kCount);
      }
    });
  });
  write_ends(ends_of<G>(samples.y, sums_y), ends_of<G>(samples.x, sums_x), result);
}

// Pools `values` at the largest samples of `from`.
template <typename G, typename T>
void pool_at_largest(const BoxSamples<T>& samples, const PoolRule& rule, SampledPixels<const T> from,
                     SampledPixels<const T> values, T* out, MaxScratch<G, T>& scratch) {
  std::fill_n(out, rule.height * rule.width * G::kCount, T(0));
  for_choices<G>(samples, rule, from, scratch, [&](int64_t bin, const Choice<G>& choice, const auto& y, const auto& x) {
    G result{};
    for_largest(choice, y, x, [&](const auto& row, const auto& column, const Mask<G>& mask) {
      const auto value_at = [&](int64_t at) {
        const Tap<T>& tap = row.tap;
        return between<G>(values.at(tap.low, at), values.at(tap.high, at), row.weight, tap.low == tap.high);
      };
      const G low = value_at(column.tap.low);
      const G value = column.tap.low == column.tap.high ? low : between(low, value_at(column.tap.high), column.weight);
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
