// The box gradient of roi_align's mean.
//
// An edge moves samples, and a moving sample changes the weights of the pixels around it. So the gradient is the
// forward with the slopes of the weights in place of the weights of one axis:
//   d y = sum of slope[y] * (sum over x of F[y][x] * G[x]),  G the upstream gradient spread over the columns,
//   d x = sum of slope[x] * (sum over y of V[x] * g),        V the weighed rows of the forward.
// The lanes are channels, kBlock of them for every layout and instruction set, and each lane has its own sums: over
// columns or bins of y in T, over everything else in double. So the bits depend on neither.

// The sums of the two edges of an axis, one for each lane.
struct EndSums {
  double first[kBlock] = {}, second[kBlock] = {};

  template <int64_t lanes = kBlock, typename T> void add(double slope_first, double slope_second, const T* values) {
    for (int64_t c = 0; c < lanes; ++c) first[c] += slope_first * static_cast<double>(values[c]);
    for (int64_t c = 0; c < lanes; ++c) second[c] += slope_second * static_cast<double>(values[c]);
  }
  static double total(const double* lanes) {
    double sum = 0;
    for (int64_t c = 0; c < kBlock; ++c) sum += lanes[c];
    return sum;
  }
};

inline void write_ends(const EndSums& y, const EndSums& x, double* result) {
  result[0] = EndSums::total(x.first);
  result[1] = EndSums::total(y.first);
  result[2] = EndSums::total(x.second);
  result[3] = EndSums::total(y.second);
}

// The four doubles of a box and a block of channels.
inline double* partial_of(const RoiJob& job, double* partial, int64_t row, int64_t first_channel) {
  return partial + (first_channel / kBlock * job.rois->count + row) * 4;
}

// A column without contributions from the bins adds 0, whatever its pixel holds: no sample reads it, so a NaN must not
// leak.
template <typename T> ROI_ALIGN_INLINE void add_where_sent(const T* pixel, const T* sent, TurnedGroup<T>* sum) {
  using L = Lanes<T>;
  for (int64_t v = 0; v < kBlock / L::kCount; ++v) {
    const auto here = L::load(sent + v * L::kCount);
    const auto product = L::load(pixel + v * L::kCount) * here;
    sum->of[v] += here == T(0) ? here : product;
  }
}

// A thread's scratch memory.
template <typename T> struct BoxScratch {
  TurnedBlock<T> turned;
  std::vector<T> bins, columns, weighed, copy;
  std::vector<char> has_row;  // for each row of `copy`: whether it has been copied
  Run whole;                  // all columns of `copy`
};

// The pixels that a box reads, of kBlock channels each: the map itself, or a copy of the rows and columns it reads.
template <typename T> struct BoxPixels {
  Pixels<const T> pixels;
  const Run* runs;
  int64_t run_count;
};

// The gradient of one box over a block of channels; `grad` holds its bins, kBlock channels each.
template <typename T>
void grad_one_box(const RoiTable<T>& box, const PoolRule& rule, const BoxPixels<T>& from, const T* grad,
                  BoxScratch<T>& scratch, double* result) {
  using G = TurnedGroup<T>;
  const int64_t width = rule.width, line = box.columns * kBlock;
  const int64_t together = bins_together<T>(box.columns, kBlock, rule.height);
  T* const columns = room(&scratch.columns, together * line);
  T* const weighed = room(&scratch.weighed, together * line);
  EndSums y, x;
  T lanes[kBlock];
  // Bins of y whose samples are all out of reach are the first and the last ones: skip them.
  int64_t begin = 0, end = rule.height;
  while (begin < end && box.y.begin(begin) == box.y.end(begin)) ++begin;
  while (begin < end && box.y.begin(end - 1) == box.y.end(end - 1)) --end;
  for (int64_t first = begin; first < end; first += together) {
    const int64_t last = std::min(end, first + together);
    std::fill_n(columns, (last - first) * line, T(0));
    for (int64_t j = 0; j < width; ++j) {
      spread_groups<G>(box.x.begin(j), box.x.end(j),
                       Steps<const T>{grad + (first * width + j) * kBlock, width * kBlock}, kBlock, last - first,
                       Steps<T>{columns, line});
    }
    for (int64_t i = first; i < last; ++i) {
      const T* const sent = columns + (i - first) * line;
      for (const BinSlope* slope = box.y.slopes_begin(i); slope < box.y.slopes_end(i); ++slope) {
        G sum{};
        for (const Run* run = from.runs; run < from.runs + from.run_count; ++run) {
          const T* pixel = from.pixels.at(slope->at, run->first);
          for (int64_t n = run->at; n < run->at + run->count; ++n, pixel += from.pixels.pixel_stride) {
            add_where_sent(pixel, sent + n * kBlock, &sum);
          }
        }
        sum.store(lanes);
        y.add(slope->first, slope->second, lanes);
      }
      for (const Run* run = from.runs; run < from.runs + from.run_count; ++run) {
        weigh_groups<G, false>(
            box.y.begin(i), box.y.end(i), Steps<const T>{from.pixels.at(0, run->first), from.pixels.pixel_stride},
            from.pixels.row_stride, run->count, Steps<T>{weighed + (i - first) * line + run->at * kBlock, kBlock});
      }
    }
    for (int64_t j = 0; j < width; ++j) {
      for (const BinSlope* slope = box.x.slopes_begin(j); slope < box.x.slopes_end(j); ++slope) {
        G sum{};
        for (int64_t i = first; i < last; ++i) {
          G value, bin;
          value.load(weighed + (i - first) * line + slope->at * kBlock);
          bin.load(grad + (i * width + j) * kBlock);
          value.times(bin);
          sum.add(value);
        }
        sum.store(lanes);
        x.add(slope->first, slope->second, lanes);
      }
    }
  }
  write_ends(y, x, result);
}

// Copies the rows and columns that a box reads, in a block of channels of a map.
template <typename T>
BoxPixels<T> copy_pixels(const RoiTable<T>& box, int64_t bins, const ConstView& map, int64_t first, int64_t channels,
                         BoxScratch<T>& scratch) {
  int32_t low = INT32_MAX, high = -1;
  const auto for_rows = [&](const auto& visit) {
    for (const BinTap<T>* tap = box.y.begin(0); tap < box.y.end(bins - 1); ++tap) visit(tap->at);
    for (const BinSlope* slope = box.y.slopes_begin(0); slope < box.y.slopes_end(bins - 1); ++slope) visit(slope->at);
  };
  for_rows([&](int32_t row) {
    low = std::min(low, row);
    high = std::max(high, row);
  });
  scratch.whole = {0, static_cast<int32_t>(box.columns), 0};
  const int64_t line = box.columns * kBlock, rows = std::max(0, high - low + 1);
  T* const copy = room(&scratch.copy, rows * line);
  scratch.has_row.assign(static_cast<size_t>(rows), 0);
  const T* const planes = static_cast<const T*>(map.data) + box.image * map.stride[0] + first * map.stride[1];
  for_rows([&](int32_t row) {
    char& has_row = scratch.has_row[static_cast<size_t>(row - low)];
    if (has_row) return;
    has_row = 1;
    for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
      turn_in<kBlock>(planes + row * map.stride[2] + run->first * map.stride[3], map.stride[1], map.stride[3], channels,
                      run->count, copy + (row - low) * line + run->at * kBlock);
    }
  });
  return {Pixels<const T>{copy, line, kBlock, low}, &scratch.whole, 1};
}

template <typename T>
void grad_boxes_of_unit(const RoiJob& job, const RoiTables<T>& tables, const T* grad, double* partial,
                        const RoiUnit& unit, BoxScratch<T>& scratch) {
  const RoiPath path = tables.paths[static_cast<size_t>(unit.map)];
  const ConstView& map = (*job.levels)[static_cast<size_t>(unit.map / job.images)].map;
  const int64_t image = unit.map % job.images, bins = job.rule.height * job.rule.width;
  T* const tile = room(&scratch.bins, bins * kBlock);
  for (int64_t k = unit.begin; k < unit.end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    for (int64_t first = unit.first; first < unit.first + unit.channels; first += kBlock) {
      const int64_t channels = std::min(kBlock, job.channels - first);
      bins_in<TurnedGroup<T>>(job, grad, box.row, first, channels, tile);
      BoxPixels<T> from{{}, box.runs, box.run_count};
      if (path == RoiPath::kTurned) {
        from.pixels = {scratch.turned.of(map, image, first), map.size[3] * kBlock, kBlock};
      } else if (path == RoiPath::kPixels && channels == kBlock) {
        from.pixels = {static_cast<const T*>(map.data) + image * map.stride[0] + first, map.stride[2], map.stride[3]};
      } else {
        from = copy_pixels(box, job.rule.height, map, first, channels, scratch);
      }
      grad_one_box(box, job.rule, from, static_cast<const T*>(tile), scratch, partial_of(job, partial, box.row, first));
    }
  }
}

template <typename T>
void roi_grad_boxes_of(const RoiJob& job, const T* grad, double* partial, const RoiUnits& work, Units* units) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  BoxScratch<T> scratch;
  for (int64_t index; units->take(&index);) {
    grad_boxes_of_unit(job, tables, grad, partial, work[static_cast<size_t>(index)], scratch);
  }
}

void roi_grad_boxes(const RoiJob& job, const void* grad, double* partial, const RoiUnits& work, Units* units) {
  if (job.dtype == DType::kFloat64) {
    roi_grad_boxes_of(job, static_cast<const double*>(grad), partial, work, units);
  } else {
    roi_grad_boxes_of(job, static_cast<const float*>(grad), partial, work, units);
  }
}
