// roi_align's mean, forward, on the CPU.
//
// Rows first: for each bin of y the rows that it reads are weighed and added up, along runs of columns. Then columns:
// what came of 16 bins (of y, of as many channels as it takes) is turned, so that the bins lie in the lanes of a vector
// and the weights of x, which they share, are single numbers. Where channels lie innermost and are many they are the
// lanes as they are, and nothing is turned. Each output is the same sum in the same order either way.

// A vector of four, for what is left of a run: runs are multiples of four wherever the map is wide enough.
template <typename T> struct Four {
  typedef T Vector __attribute__((vector_size(4 * sizeof(T))));

  static Vector load(const T* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
  }
  static void store(T* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(vector)); }
};

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

// The rows of one bin of y, along all runs of a box. Columns are `inner` values wide.
template <typename T>
ROI_ALIGN_INLINE void weigh_rows(const RoiTable<T>& box, int64_t bin, const T* plane, int64_t row_stride, int64_t inner,
                                 T* to) {
  const BinTap<T>*begin = box.y.begin(bin), *end = box.y.end(bin);
  for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
    weigh(begin, end, plane + run->first * inner, row_stride, run->count * inner, to + run->at * inner);
  }
}

// The columns of every bin of x, kBlock lanes at a time.
template <typename T>
void weigh_turned_columns(const RoiTable<T>& box, int64_t bins, int64_t inner, const T* turned, T* to) {
  for (int64_t bin = 0; bin < bins; ++bin) {
    for (int64_t c = 0; c < inner; ++c, to += kBlock) {
      weigh(box.x.begin(bin), box.x.end(bin), turned + c * kBlock, inner * kBlock, kBlock, to);
    }
  }
}

// Memory that is kept from one use to the next, as large as the largest of them asked for.
template <typename T> T* room(std::vector<T>* kept, int64_t values) {
  if (static_cast<int64_t>(kept->size()) < values) kept->resize(static_cast<size_t>(values));
  return kept->data();
}

// A thread's scratch on kRows.
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

// A thread's scratch where channels are the lanes.
template <typename T> struct PixelScratch {
  TurnedBlock<T> turned;
  std::vector<T> columns, bins, planes, sums;

  T* columns_of(int64_t values) { return room(&columns, values); }
  T* bins_of(int64_t values) { return room(&bins, values); }
  T* planes_of(int64_t values) { return room(&planes, values); }
  T* sums_of(int64_t values) { return room(&sums, values); }
};

// Whether runs of `run` values, one after the other, are whole lines of a result.
template <typename T> bool whole_lines(const T* result, int64_t run) {
  return run * static_cast<int64_t>(sizeof(T)) % 64 == 0 && reinterpret_cast<uintptr_t>(result) % 64 == 0;
}

// Channels begin to end of a map's image on kRows, where a row of `inner` channels counts as one channel.
template <typename T> struct MapRows {
  T* data;
  int64_t channel_stride;
  int64_t row_stride;

  T* plane(int64_t channel) const { return data + channel * channel_stride; }
};

template <typename T, typename AnyView> MapRows<T> map_rows(const AnyView& map, int64_t image) {
  return {static_cast<T*>(map.data) + image * map.stride[0], map.stride[1], map.stride[2]};
}

// A lane is a bin of y of a channel. They are counted up: a division for each would cost more than its row.
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
    // The lines of lanes follow each other in the crop as they do here.
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

// One box's bins of a group of channels, rows first. Pixels of the result are `out_stride` values apart.
template <typename G, bool stream, typename T>
ROI_ALIGN_INLINE void pool_pixels(const RoiTable<T>& box, const PoolRule& rule, const Pixels<const T>& pixels,
                                  int64_t together, T* columns, T* out, int64_t out_stride) {
  constexpr int64_t kCount = G::kCount;
  const int64_t width = box.columns * kCount;
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

template <typename T>
void forward_turned(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit, bool large,
                    PixelScratch<T>& scratch) {
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
    const int64_t together = bins_together<T>(box.columns, kBlock, job.rule.height);
    pool_pixels<G, false>(box, job.rule, pixels, together, scratch.columns_of(box.columns * together * kBlock), tile,
                          kBlock);
    T* const result = crops + box.row * crop + unit.first * bins;
    turn_out(tile, bins, stream ? planes : result, bins, unit.channels);
    if (stream) stream_out(planes, bins * kBlock, result);
  }
}

template <bool stream, typename T>
void forward_pixels(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiUnit& unit,
                    PixelScratch<T>& scratch) {
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    const ConstView& map = (*job.levels)[static_cast<size_t>(box.level)].map;
    const T* const image = static_cast<const T*>(map.data) + box.image * map.stride[0];
    T* const out = crops + box.row * job.rule.height * job.rule.width * job.channels;
    for_groups<T>(job.channels, [&](auto group, int64_t c) {
      using G = decltype(group);
      const int64_t together = bins_together<T>(box.columns, G::kCount, job.rule.height);
      pool_pixels<G, stream>(box, job.rule, Pixels<const T>{image + c, map.stride[2], map.stride[3]}, together,
                             scratch.columns_of(box.columns * together * G::kCount), out + c, job.channels);
    });
  }
}

template <typename T> void roi_forward_of(const RoiJob& job, T* crops, const RoiUnits& work, Units* units) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  // A large result goes past the caches where it is written in whole lines (Lanes::stream).
  const int64_t values = static_cast<int64_t>(tables.boxes.size()) * job.channels * job.rule.height * job.rule.width;
  const bool large = values * static_cast<int64_t>(sizeof(T)) >= kStreamBytes;
  RowScratch<T> rows(job, tables);
  PixelScratch<T> scratch;
  for (int64_t index; units->take(&index);) {
    const RoiUnit& unit = work[static_cast<size_t>(index)];
    switch (tables.paths[static_cast<size_t>(unit.map)]) {
      case RoiPath::kRows: forward_rows(job, tables, crops, unit, large, rows); break;
      case RoiPath::kTurned: forward_turned(job, tables, crops, unit, large, scratch); break;
      case RoiPath::kPixels:
        if (large && whole_lines(crops, job.channels)) {
          forward_pixels<true>(job, tables, crops, unit, scratch);
        } else {
          forward_pixels<false>(job, tables, crops, unit, scratch);
        }
    }
  }
  if (large) stream_fence();
}

void roi_forward(const RoiJob& job, void* crops, const RoiUnits& work, Units* units) {
  if (job.dtype == DType::kFloat64) {
    roi_forward_of(job, static_cast<double*>(crops), work, units);
  } else {
    roi_forward_of(job, static_cast<float*>(crops), work, units);
  }
}
