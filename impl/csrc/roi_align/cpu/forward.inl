// roi_align, forward, on the CPU: the mean here, the maximum in maximum.inl.
//
// The mean weighs rows first: each bin of y sums the rows that it reads, along runs of columns. Then it weighs columns:
// the sums of 16 bins (bins of y, from several channels if needed) are turned, so that the lanes of a vector are bins,
// which share the weights of x as single numbers. With many channels innermost the lanes are channels, and nothing is
// turned. Each output is the same sum in the same order either way.

// to[i] = sum over taps of weight * from[at * stride + i]; zeros without taps.
template <typename T>
ROI_ALIGN_INLINE void weigh(const BinTap<T>* begin, const BinTap<T>* end, const T* from, int64_t stride, int64_t count,
                            T* to) {
  if (begin == end) {
    std::fill(to, to + count, T(0));
    return;
  }
  const auto sum = [&](auto lanes, int64_t i) {
    typedef decltype(lanes) L;
    auto total = begin->weight * L::load(from + begin->at * stride + i);
    for (const BinTap<T>* tap = begin + 1; tap < end; ++tap)
      total += tap->weight * L::load(from + tap->at * stride + i);
    L::store(to + i, total);
  };
  int64_t i = 0;
  for (; i + Lanes<T>::kCount <= count; i += Lanes<T>::kCount) sum(Lanes<T>{}, i);
  if constexpr (Lanes<T>::kCount > 4) {
    for (; i + 4 <= count; i += 4) sum(Four<T>{}, i);
  }
  for (; i < count; ++i) {
    T total = begin->weight * from[begin->at * stride + i];
    for (const BinTap<T>* tap = begin + 1; tap < end; ++tap) total += tap->weight * from[tap->at * stride + i];
    to[i] = total;
  }
}

// Weighs the rows of one bin of y, along all runs of a box. Columns are `inner` values wide.
template <typename T>
ROI_ALIGN_INLINE void weigh_rows(const RoiTable<T>& box, int64_t bin, const T* plane, int64_t row_stride, int64_t inner,
                                 T* to) {
  const BinTap<T>*begin = box.y.begin(bin), *end = box.y.end(bin);
  for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
    weigh(begin, end, plane + run->first * inner, row_stride, run->count * inner, to + run->at * inner);
  }
}

// Weighs the columns of every bin of x, in kBlock lanes.
template <typename T>
void weigh_turned_columns(const RoiTable<T>& box, int64_t bins, int64_t inner, const T* turned, T* to) {
  for (int64_t bin = 0; bin < bins; ++bin) {
    for (int64_t c = 0; c < inner; ++c, to += kBlock) {
      weigh(box.x.begin(bin), box.x.end(bin), turned + c * kBlock, inner * kBlock, kBlock, to);
    }
  }
}

// A thread's scratch memory on kRows.
template <typename T> struct RowScratch {
  std::vector<T> rows, turned, bins, planes;

  RowScratch(const RoiJob& job, const RoiTables<T>& tables) {
    if (std::find(tables.paths.begin(), tables.paths.end(), RoiPath::kRows) == tables.paths.end()) return;
    room(&rows, tables.most_columns * job.inner * kBlock);
    room(&turned, tables.most_columns * job.inner * kBlock);
    room(&bins, job.rule.width * job.inner * kBlock);
  }
  T* planes_of(int64_t values) { return room(&planes, values); }
};

// Whether successive runs of `run` values are whole lines of a result.
template <typename T> bool whole_lines(const T* result, int64_t run) {
  return run * static_cast<int64_t>(sizeof(T)) % 64 == 0 && reinterpret_cast<uintptr_t>(result) % 64 == 0;
}

// Pools channels begin to end of a map's image on kRows, where a row of `inner` channels counts as one channel.
template <typename T> struct MapRows {
  T* data;
  int64_t channel_stride;
  int64_t row_stride;

  T* plane(int64_t channel) const { return data + channel * channel_stride; }
};

template <typename T, typename AnyView> MapRows<T> map_rows(const AnyView& map, int64_t image) {
  return {static_cast<T*>(map.data) + image * map.stride[0], map.stride[1], map.stride[2]};
}

// A lane is a bin of y of a channel. Lanes are counted up, because a division per lane would cost more than its row.
struct RowLane {
  int64_t channel, bin;

  void next(int64_t bins) {
    if (++bin == bins) {
      bin = 0;
      ++channel;
    }
  }
};

template <typename T>
void forward_rows(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, bool large,
                  RowScratch<T>& scratch) {
  const int64_t height = job.rule.height, line = job.rule.width * job.inner, channels = job.channels / job.inner;
  const int64_t crop = channels * height * line, whole = unit.channels * height * line;
  const bool stream =
      large && whole_lines(crops, crop) && whole_lines(crops, whole) && whole_lines(crops, unit.first * height * line);
  T* const planes = stream ? scratch.planes_of(whole) : nullptr;
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    const MapRows<const T> map = map_rows<const T>((*job.levels)[static_cast<size_t>(box.level)].map, box.image);
    const int64_t width = box.columns * job.inner;
    T* const result = crops + box.row * crop + unit.first * height * line;
    T* const out = stream ? planes : result;
    RowLane of{unit.first, 0};
    // Lanes have the same order in the crop as here.
    for (int64_t lane = 0; lane < unit.channels * height; lane += kBlock) {
      const int64_t lanes = std::min(kBlock, unit.channels * height - lane);
      for (int64_t l = 0; l < lanes; ++l, of.next(height)) {
        weigh_rows(box, of.bin, map.plane(of.channel), map.row_stride, job.inner, scratch.rows.data() + l * width);
      }
      turn_in<kBlock>(scratch.rows.data(), width, 1, lanes, width, scratch.turned.data());
      weigh_turned_columns(box, job.rule.width, job.inner, scratch.turned.data(), scratch.bins.data());
      turn_out(scratch.bins.data(), line, out + lane * line, line, lanes);
    }
    if (stream) stream_out(out, whole, result);
  }
}

// Pools one box's bins in a group of channels, rows first. Pixels of the result are `out_stride` values apart.
template <typename G, bool stream, typename T>
ROI_ALIGN_INLINE void pool_pixels(const RoiTable<T>& box, const PoolRule& rule, const Pixels<const T>& pixels,
                                  PixelScratch<T>& scratch, T* out, int64_t out_stride) {
  constexpr int64_t kCount = G::kCount;
  const int64_t width = box.columns * kCount, together = bins_together<T>(box.columns, kCount, rule.height);
  T* const columns = scratch.columns_of(width * together);
  for (int64_t first = 0; first < rule.height; first += together) {
    const int64_t last = std::min(rule.height, first + together);
    for (int64_t i = first; i < last; ++i) {
      for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
        weigh_groups<G, false>(box.y.begin(i), box.y.end(i),
                               Steps<const T>{pixels.at(0, run->first), pixels.pixel_stride}, pixels.row_stride,
                               run->count, Steps<T>{columns + (i - first) * width + run->at * kCount, kCount});
      }
    }
    for (int64_t j = 0; j < rule.width; ++j) {
      weigh_groups<G, stream>(box.x.begin(j), box.x.end(j), Steps<const T>{columns, width}, kCount, last - first,
                              Steps<T>{out + (first * rule.width + j) * out_stride, rule.width * out_stride});
    }
  }
}

// The mean of a bin, on paths whose lanes are channels.
template <typename T> struct Mean {
  PoolRule rule;
  PixelScratch<T>* scratch;

  template <typename G, bool stream>
  ROI_ALIGN_INLINE void pool(const RoiTable<T>& box, const Pixels<const T>& pixels, T* out, int64_t out_stride) const {
    pool_pixels<G, stream>(box, rule, pixels, *scratch, out, out_stride);
  }
};

template <typename T, typename Pool>
void forward_turned(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, bool large,
                    PixelScratch<T>& scratch, const Pool& pooling) {
  using G = TurnedGroup<T>;
  const ConstView& map = (*job.levels)[static_cast<size_t>(unit.map / job.images)].map;
  const Pixels<const T> pixels{scratch.turned.of(map, unit.map % job.images, unit.first), map.size[3] * kBlock, kBlock};
  const int64_t bins = job.rule.height * job.rule.width, crop = job.channels * bins;
  T* const tile = scratch.bins_of(bins * kBlock);
  // A block of planes of a crop is one run.
  const bool stream = large && unit.channels == kBlock && whole_lines(crops, crop) && whole_lines(crops, kBlock * bins);
  T* const planes = stream ? scratch.planes_of(bins * kBlock) : nullptr;
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    pooling.template pool<G, false>(box, pixels, tile, kBlock);
    T* const result = crops + box.row * crop + unit.first * bins;
    turn_out(tile, bins, stream ? planes : result, bins, unit.channels);
    if (stream) stream_out(planes, bins * kBlock, result);
  }
}

template <bool stream, typename T, typename Pool>
void forward_pixels(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, const Pool& pooling) {
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    const ConstView& map = (*job.levels)[static_cast<size_t>(box.level)].map;
    const T* const image = static_cast<const T*>(map.data) + box.image * map.stride[0];
    T* const out = crops + box.row * job.rule.height * job.rule.width * job.channels;
    for_groups<T>(job.channels, [&](auto group, int64_t c) {
      pooling.template pool<decltype(group), stream>(box, {image + c, map.stride[2], map.stride[3]}, out + c,
                                                     job.channels);
    });
  }
}

template <typename T, typename Pool>
void forward_unit(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, bool large,
                  PixelScratch<T>& scratch, const Pool& pooling) {
  if (!job.pixels) return forward_turned<T>(job, tables, crops, unit, large, scratch, pooling);
  if (large && whole_lines(crops, job.channels)) return forward_pixels<true>(job, tables, crops, unit, pooling);
  forward_pixels<false>(job, tables, crops, unit, pooling);
}

template <typename T> void roi_forward_of(const RoiJob& job, const View& crops, const RoiUnits& work, Units* units) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  T* const result = static_cast<T*>(crops.data);
  const bool maximum = job.pooling == Pooling::kMaximum;
  // A large result is written past the caches where its runs are whole lines (Lanes::stream).
  const bool large = elements(crops) * static_cast<int64_t>(sizeof(T)) >= kStreamBytes;
  RowScratch<T> rows(job, tables);
  PixelScratch<T> scratch;
  for (int64_t index; units->take(&index);) {
    const RoiUnit& unit = work[static_cast<size_t>(index)];
    const bool by_rows = tables.paths[static_cast<size_t>(unit.map)] == RoiPath::kRows;
    if (maximum && by_rows) {
      max_rows(job, tables, result, unit, scratch);
    } else if (maximum) {
      forward_unit(job, tables, result, unit, large, scratch, Maximum<T>{job.rule, &tables, &scratch});
    } else if (by_rows) {
      forward_rows(job, tables, result, unit, large, rows);
    } else {
      forward_unit(job, tables, result, unit, large, scratch, Mean<T>{job.rule, &scratch});
    }
  }
  if (large) stream_fence();
}

void roi_forward(const RoiJob& job, const View& crops, const RoiUnits& work, Units* units) {
  if (job.dtype == DType::kFloat64) {
    roi_forward_of<double>(job, crops, work, units);
  } else {
    roi_forward_of<float>(job, crops, work, units);
  }
}
