// roi_align's mean, forward, on the CPU.
//
// Rows first: for each bin of y the rows that it reads are weighed and added up, along runs of columns. Then columns: what
// came of 16 bins (of y, of as many channels as it takes) is turned, so that the bins lie in the lanes of a vector and the
// weights of x, which they share, are single numbers. Where channels lie innermost and are many they are the lanes as they
// are, and nothing is turned. Each output is the same sum in the same order either way.

// A vector of four, for what is left of a run: runs are multiples of four wherever the map is wide enough.
template <typename T>
struct Four {
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
    for (const BinTap<T>* tap = begin + 1; tap < end; ++tap) total += tap->weight * L::load(from + tap->at * stride + i);
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
  const BinTap<T> *begin = box.y.begin(bin), *end = box.y.end(bin);
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

// The scratch of a range of units on kRows.
template <typename T>
struct RowScratch {
  std::vector<T> rows, turned, bins;

  RowScratch(int64_t columns, int64_t bins_of_x, int64_t inner)
      : rows(static_cast<size_t>(columns * inner * kBlock)),
        turned(rows.size()),
        bins(static_cast<size_t>(bins_of_x * inner * kBlock)) {}
};

// Channels begin to end of a map's image on kRows, where a row of `inner` channels counts as one channel.
template <typename T>
struct MapRows {
  T* data;
  int64_t channel_stride;
  int64_t row_stride;

  T* plane(int64_t channel) const { return data + channel * channel_stride; }
};

template <typename T, typename AnyView>
MapRows<T> map_rows(const AnyView& map, int64_t image) {
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
void forward_rows(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiCut& cut, int64_t begin,
                  int64_t end) {
  const int64_t height = job.rule.height, line = job.rule.width * job.inner, channels = job.channels / job.inner;
  RowScratch<T> scratch(tables.most_columns, job.rule.width, job.inner);
  // A large result goes past the caches (stream_out), where a block of channels of a box is a run of whole lines.
  const int64_t crop = channels * height * line, whole = cut.channel_block * height * line;
  const auto lines = [](int64_t values) { return values * static_cast<int64_t>(sizeof(T)) % 64 == 0; };
  const bool stream = static_cast<int64_t>(tables.boxes.size()) * crop * static_cast<int64_t>(sizeof(T)) >=
                          kStreamBytes && lines(crop) && lines(whole) && reinterpret_cast<uintptr_t>(crops) % 64 == 0;
  std::vector<T> planes(stream ? static_cast<size_t>(whole) : 0);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit / cut.parts * cut.channel_block, last = std::min(channels, first + cut.channel_block);
    const Part part = part_of(0, static_cast<int64_t>(tables.boxes.size()), unit % cut.parts, cut.parts);
    for (int64_t k = part.begin; k < part.end; ++k) {
      const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
      const MapRows<const T> map =
          map_rows<const T>((*job.levels)[static_cast<size_t>(box.level)].map, box.image);
      const int64_t width = box.columns * job.inner;
      T* const result = crops + box.row * crop + first * height * line;
      T* const out = stream ? planes.data() : result;
      RowLane of{first, 0};
      // The lines of lanes follow each other in the crop as they do here.
      for (int64_t lane = first * height; lane < last * height; lane += kBlock) {
        const int64_t lanes = std::min(kBlock, last * height - lane);
        for (int64_t l = 0; l < lanes; ++l, of.next(height)) {
          weigh_rows(box, of.bin, map.plane(of.channel), map.row_stride, job.inner, scratch.rows.data() + l * width);
        }
        turn_in<kBlock>(scratch.rows.data(), width, 1, lanes, width, scratch.turned.data());
        weigh_turned_columns(box, job.rule.width, job.inner, scratch.turned.data(), scratch.bins.data());
        turn_out(scratch.bins.data(), line, out + (lane - first * height) * line, line, lanes);
      }
      if (stream) stream_out(out, (last - first) * height * line, result);
    }
  }
  if (stream) stream_fence();
}

// Channels of one bin of y at every numbered column, and then of every bin of x; `count` is a constant where it can be.
template <typename T>
ROI_ALIGN_INLINE void pool_pixels(const RoiTable<T>& box, const PoolRule& rule, const ConstView& map, const T* pixels,
                                  int64_t channels, int64_t count, T* scratch, T* out) {
  for (int64_t i = 0; i < rule.height; ++i) {
    for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
      for (int64_t x = 0; x < run->count; ++x) {
        weigh(box.y.begin(i), box.y.end(i), pixels + (run->first + x) * map.stride[3], map.stride[2], count,
              scratch + (run->at + x) * count);
      }
    }
    for (int64_t j = 0; j < rule.width; ++j, out += channels) {
      weigh(box.x.begin(j), box.x.end(j), scratch, count, count, out);
    }
  }
}

// Channels that are worked on together on kPixels: as many as leave a box's columns in the first-level cache.
constexpr int64_t kPixelChannels = 64;

template <typename T>
void forward_pixels(const RoiJob& job, const RoiTables<T>& tables, T* crops, const RoiCut& cut, int64_t begin,
                    int64_t end) {
  std::vector<T> scratch(static_cast<size_t>(tables.most_columns * kPixelChannels));
  for (int64_t unit = begin; unit < end; ++unit) {
    const Part part = part_of(0, static_cast<int64_t>(tables.boxes.size()), unit, cut.parts);
    for (int64_t k = part.begin; k < part.end; ++k) {
      const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
      const ConstView& map = (*job.levels)[static_cast<size_t>(box.level)].map;
      const T* const pixels = static_cast<const T*>(map.data) + box.image * map.stride[0];
      T* const out = crops + box.row * job.rule.height * job.rule.width * job.channels;
      for (int64_t c = 0; c < job.channels; c += kPixelChannels) {
        const int64_t count = std::min(kPixelChannels, job.channels - c);
        if (count == kPixelChannels) {
          pool_pixels(box, job.rule, map, pixels + c, job.channels, kPixelChannels, scratch.data(), out + c);
        } else {
          pool_pixels(box, job.rule, map, pixels + c, job.channels, count, scratch.data(), out + c);
        }
      }
    }
  }
}

template <typename T>
void roi_forward_of(const RoiJob& job, void* crops, const RoiCut& cut, int64_t begin, int64_t end) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  if (job.path == RoiPath::kPixels) {
    forward_pixels(job, tables, static_cast<T*>(crops), cut, begin, end);
  } else {
    forward_rows(job, tables, static_cast<T*>(crops), cut, begin, end);
  }
}

void roi_forward(const RoiJob& job, void* crops, const RoiCut& cut, int64_t begin, int64_t end) {
  if (job.dtype == DType::kFloat64) {
    roi_forward_of<double>(job, crops, cut, begin, end);
  } else {
    roi_forward_of<float>(job, crops, cut, begin, end);
  }
}
