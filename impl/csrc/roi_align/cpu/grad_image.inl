// The gradient of roi_align's mean in its maps: the forward's two steps, transposed and in reverse order.
//
// A unit owns the planes that it adds to, so there are no atomics. A sum has the order of the boxes, their bins of y
// and the taps of those, for any division of the work: the bits depend neither on the number of threads nor on the
// layout.

// from[at * stride + i] += weight * values[i], for every tap.
template <typename T>
ROI_ALIGN_INLINE void spread(const BinTap<T>* begin, const BinTap<T>* end, const T* values, int64_t stride,
                             int64_t count, T* to) {
  for (const BinTap<T>* tap = begin; tap < end; ++tap) {
    T* const target = to + tap->at * stride;
    const T weight = tap->weight;
    const auto add = [&](auto lanes, int64_t i) {
      typedef decltype(lanes) L;
      L::store(target + i, L::load(target + i) + weight * L::load(values + i));
    };
    int64_t i = 0;
    for (; i + Lanes<T>::kCount <= count; i += Lanes<T>::kCount) add(Lanes<T>{}, i);
    if constexpr (Lanes<T>::kCount > 4) {
      for (; i + 4 <= count; i += 4) add(Four<T>{}, i);
    }
    for (; i < count; ++i) target[i] += weight * values[i];
  }
}

// Spreads the bins of x over the columns of a box, in kBlock lanes, from an upstream gradient that it turns.
template <typename T>
void spread_columns(const RoiTable<T>& box, const RoiJob& job, const T* grad, int64_t lanes, RowScratch<T>& scratch) {
  const int64_t line = job.rule.width * job.inner;
  turn_in<kBlock>(grad, line, 1, lanes, line, scratch.bins.data());
  std::fill_n(scratch.turned.data(), box.columns * job.inner * kBlock, T(0));
  const T* bins = scratch.bins.data();
  for (int64_t bin = 0; bin < job.rule.width; ++bin) {
    for (int64_t c = 0; c < job.inner; ++c, bins += kBlock) {
      spread(box.x.begin(bin), box.x.end(bin), bins, job.inner * kBlock, kBlock, scratch.turned.data() + c * kBlock);
    }
  }
}

template <typename T>
void grad_map_rows(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const View& map, const RoiUnit& unit,
                   RowScratch<T>& scratch) {
  const int64_t height = job.rule.height, line = job.rule.width * job.inner, channels = job.channels / job.inner;
  const MapRows<T> rows = map_rows<T>(map, unit.map % job.images);
  // Dense: the planes of a block are one run.
  std::fill_n(rows.plane(unit.first), unit.channels * map.size[2] * map.size[3] * job.inner, T(0));
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    const T* const upstream = grad + (box.row * channels + unit.first) * height * line;
    const int64_t width = box.columns * job.inner;
    RowLane of{unit.first, 0};
    for (int64_t lane = 0; lane < unit.channels * height; lane += kBlock) {
      const int64_t lanes = std::min(kBlock, unit.channels * height - lane);
      spread_columns(box, job, upstream + lane * line, lanes, scratch);
      turn_out(scratch.turned.data(), width, scratch.rows.data(), width, lanes);
      for (int64_t l = 0; l < lanes; ++l, of.next(height)) {
        T* const plane = rows.plane(of.channel);
        const T* const values = scratch.rows.data() + l * width;
        for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
          spread(box.y.begin(of.bin), box.y.end(of.bin), values + run->at * job.inner, rows.row_stride,
                 run->count * job.inner, plane + run->first * job.inner);
        }
      }
    }
  }
}

// Adds one box's contributions to a group of channels. Pixels of the upstream gradient are `grad_stride` values apart.
template <typename G, typename T>
ROI_ALIGN_INLINE void spread_pixels(const RoiTable<T>& box, const PoolRule& rule, const T* grad, int64_t grad_stride,
                                    int64_t together, T* columns, const Pixels<T>& pixels) {
  constexpr int64_t kCount = G::kCount;
  const int64_t width = box.columns * kCount;
  for (int64_t first = 0; first < rule.height; first += together) {
    const int64_t last = std::min(rule.height, first + together);
    std::fill_n(columns, (last - first) * width, T(0));
    for (int64_t j = 0; j < rule.width; ++j) {
      spread_groups<G>(box.x.begin(j), box.x.end(j),
                       Steps<const T>{grad + (first * rule.width + j) * grad_stride, rule.width * grad_stride}, kCount,
                       last - first, Steps<T>{columns, width});
    }
    for (int64_t i = first; i < last; ++i) {
      for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
        spread_groups<G>(box.y.begin(i), box.y.end(i),
                         Steps<const T>{columns + (i - first) * width + run->at * kCount, kCount}, pixels.row_stride,
                         run->count, Steps<T>{pixels.at(0, run->first), pixels.pixel_stride});
      }
    }
  }
}

template <typename T>
void grad_map_turned(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const View& map, const RoiUnit& unit,
                     PixelScratch<T>& scratch) {
  using G = TurnedGroup<T>;
  const int64_t bins = job.rule.height * job.rule.width, size = map.size[2] * map.size[3];
  T* const sums = scratch.sums_of(size * kBlock);
  std::fill_n(sums, size * kBlock, T(0));
  T* const tile = scratch.bins_of(bins * kBlock);
  const auto upstream_of = [&](int64_t k) {
    return grad + (tables.boxes[static_cast<size_t>(k)].row * job.channels + unit.first) * bins;
  };
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    turn_in<kBlock>(upstream_of(k), bins, 1, unit.channels, bins, tile);
    if (k + 1 < unit.end) expect(upstream_of(k + 1), unit.channels * bins);
    const int64_t together = bins_together<T>(box.columns, kBlock, job.rule.height);
    spread_pixels<G>(box, job.rule, static_cast<const T*>(tile), kBlock, together,
                     scratch.columns_of(box.columns * together * kBlock),
                     Pixels<T>{sums, map.size[3] * kBlock, kBlock});
  }
  T* const planes = static_cast<T*>(map.data) + unit.map % job.images * map.stride[0] + unit.first * size;
  turn_group_out(sums, kBlock, size, planes, size, unit.channels, true);
}

// Writes `channels` channels of `size` pixels to a map, past the caches if they are whole lines.
template <typename T>
void write_pixels(const T* sums, int64_t sums_stride, int64_t size, int64_t channels, T* image, int64_t pixel_stride) {
  const bool lines = whole_lines(image, pixel_stride) && whole_lines(image, channels);
  for (int64_t i = 0; i < size; ++i) {
    if (lines) {
      stream_out(sums + i * sums_stride, channels, image + i * pixel_stride);
    } else {
      std::copy_n(sums + i * sums_stride, channels, image + i * pixel_stride);
    }
  }
}

template <typename T>
void grad_map_pixels(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const View& map, const RoiUnit& unit,
                     PixelScratch<T>& scratch) {
  const int64_t size = map.size[2] * map.size[3], channels = unit.channels;
  T* const sums = scratch.sums_of(size * channels);
  std::fill_n(sums, size * channels, T(0));
  const int64_t bins = job.rule.height * job.rule.width;
  const auto upstream_of = [&](int64_t k) {
    return grad + tables.boxes[static_cast<size_t>(k)].row * bins * job.channels + unit.first;
  };
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    const T* const upstream = upstream_of(k);
    // Pieces of lines that are far apart, which the hardware's prefetcher does not predict.
    if (k + 1 < unit.end && channels < job.channels) expect_pieces(upstream_of(k + 1), job.channels, bins, channels);
    for_groups<T>(channels, [&](auto group, int64_t c) {
      using G = decltype(group);
      const int64_t together = bins_together<T>(box.columns, G::kCount, job.rule.height);
      spread_pixels<G>(box, job.rule, upstream + c, job.channels, together,
                       scratch.columns_of(box.columns * together * G::kCount),
                       Pixels<T>{sums + c, map.size[3] * channels, channels});
    });
  }
  T* const image = static_cast<T*>(map.data) + unit.map % job.images * map.stride[0] + unit.first;
  write_pixels(sums, channels, size, channels, image, job.channels);
}

template <typename T>
void roi_grad_maps_of(const RoiJob& job, const T* grad, const std::vector<View>& maps, const RoiUnits& work,
                      Units* units) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  RowScratch<T> rows(job, tables);
  PixelScratch<T> scratch;
  for (int64_t index; units->take(&index);) {
    const RoiUnit& unit = work[static_cast<size_t>(index)];
    const View& map = maps[static_cast<size_t>(unit.map / job.images)];
    switch (tables.paths[static_cast<size_t>(unit.map)]) {
      case RoiPath::kRows: grad_map_rows(job, tables, grad, map, unit, rows); break;
      case RoiPath::kTurned: grad_map_turned(job, tables, grad, map, unit, scratch); break;
      case RoiPath::kPixels: grad_map_pixels(job, tables, grad, map, unit, scratch);
    }
  }
  stream_fence();
}

void roi_grad_maps(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiUnits& work,
                   Units* units) {
  if (job.dtype == DType::kFloat64) {
    roi_grad_maps_of(job, static_cast<const double*>(grad), maps, work, units);
  } else {
    roi_grad_maps_of(job, static_cast<const float*>(grad), maps, work, units);
  }
}
