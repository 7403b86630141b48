// The gradient of roi_align's mean in its maps: the forward's two steps, transposed and in the other order.
//
// A unit owns the planes that it adds to, so there are no atomics, and a sum has the order of the boxes, their bins of y
// and the taps of those, whatever the cut: the bits do not depend on the number of threads, nor on the layout.

// from[at * stride + i] is added to: += weight * values[i], for every tap.
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

// What the bins of x send to the columns of a box, in kBlock lanes, from an upstream gradient that is turned here.
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
void clear_planes(const View& map, const MapRows<T>& rows, int64_t first, int64_t last, int64_t inner) {
  // Dense: the planes of a block are one run.
  std::fill(rows.plane(first), rows.plane(first) + (last - first) * map.size[2] * map.size[3] * inner, T(0));
}

template <typename T>
void grad_map_rows(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const std::vector<View>& maps,
                   const RoiCut& cut, int64_t begin, int64_t end) {
  const int64_t height = job.rule.height, line = job.rule.width * job.inner, channels = job.channels / job.inner;
  const int64_t buckets = static_cast<int64_t>(maps.size()) * job.images;
  RowScratch<T> scratch(tables.most_columns, job.rule.width, job.inner);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t bucket = unit % buckets;
    const int64_t first = unit / buckets * cut.channel_block, last = std::min(channels, first + cut.channel_block);
    const View& map = maps[static_cast<size_t>(bucket / job.images)];
    const MapRows<T> rows = map_rows<T>(map, bucket % job.images);
    clear_planes(map, rows, first, last, job.inner);
    for (int64_t k = tables.buckets[static_cast<size_t>(bucket)]; k < tables.buckets[static_cast<size_t>(bucket + 1)];
         ++k) {
      const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
      const T* const upstream = grad + box.row * channels * height * line;
      const int64_t width = box.columns * job.inner;
      RowLane of{first, 0};
      for (int64_t lane = first * height; lane < last * height; lane += kBlock) {
        const int64_t lanes = std::min(kBlock, last * height - lane);
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
}

// Inlined, so that a constant number of channels stays one.
template <typename T>
ROI_ALIGN_INLINE void spread_pixels(const RoiTable<T>& box, const PoolRule& rule, const View& map, const T* grad,
                                    int64_t channels, int64_t count, T* scratch, T* pixels) {
  for (int64_t i = 0; i < rule.height; ++i) {
    std::fill_n(scratch, box.columns * count, T(0));
    for (int64_t j = 0; j < rule.width; ++j, grad += channels) {
      spread(box.x.begin(j), box.x.end(j), grad, count, count, scratch);
    }
    for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
      for (int64_t x = 0; x < run->count; ++x) {
        spread(box.y.begin(i), box.y.end(i), scratch + (run->at + x) * count, map.stride[2], count,
               pixels + (run->first + x) * map.stride[3]);
      }
    }
  }
}

template <typename T>
void grad_map_pixels(const RoiJob& job, const RoiTables<T>& tables, const T* grad, const std::vector<View>& maps,
                     const RoiCut& cut, int64_t begin, int64_t end) {
  const int64_t buckets = static_cast<int64_t>(maps.size()) * job.images;
  std::vector<T> scratch(static_cast<size_t>(tables.most_columns * kPixelChannels));
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t bucket = unit % buckets, c = unit / buckets * cut.channel_block;
    const int64_t count = std::min(cut.channel_block, job.channels - c);
    const View& map = maps[static_cast<size_t>(bucket / job.images)];
    T* const pixels = static_cast<T*>(map.data) + bucket % job.images * map.stride[0] + c;
    for (int64_t i = 0; i < map.size[2] * map.size[3]; ++i) std::fill_n(pixels + i * job.channels, count, T(0));
    for (int64_t k = tables.buckets[static_cast<size_t>(bucket)]; k < tables.buckets[static_cast<size_t>(bucket + 1)];
         ++k) {
      const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
      const T* const upstream = grad + box.row * job.rule.height * job.rule.width * job.channels + c;
      if (count == kPixelChannels) {
        spread_pixels(box, job.rule, map, upstream, job.channels, kPixelChannels, scratch.data(), pixels);
      } else {
        spread_pixels(box, job.rule, map, upstream, job.channels, count, scratch.data(), pixels);
      }
    }
  }
}

template <typename T>
void roi_grad_maps_of(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiCut& cut,
                      int64_t begin, int64_t end) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  if (job.path == RoiPath::kPixels) {
    grad_map_pixels(job, tables, static_cast<const T*>(grad), maps, cut, begin, end);
  } else {
    grad_map_rows(job, tables, static_cast<const T*>(grad), maps, cut, begin, end);
  }
}

void roi_grad_maps(const RoiJob& job, const void* grad, const std::vector<View>& maps, const RoiCut& cut, int64_t begin,
                   int64_t end) {
  if (job.dtype == DType::kFloat64) {
    roi_grad_maps_of<double>(job, grad, maps, cut, begin, end);
  } else {
    roi_grad_maps_of<float>(job, grad, maps, cut, begin, end);
  }
}
