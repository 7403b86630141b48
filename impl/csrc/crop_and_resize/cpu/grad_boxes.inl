// The gradient of the boxes on the CPU: how the crop changes when an edge moves.
//
// The derivative of the bilinear formula with respect to the sample position, times how far each edge moves the sample.
// (The nearest method is flat between its jumps; like TensorFlow's, its box gradient is the bilinear one.) All samples of
// a row are moved alike by the y edges, and all of a column by the x edges: slopes are summed along rows and columns in
// the accumulate type, channel by channel, and from there on in double, kBlock channels at a time. That is one order on
// every path, so that layouts give the same bits.

// d(interpolated)/d(position) * upstream, for one channel or a vector of them. At an integer position both pixels are
// one and the slope there is 0.
template <typename Value>
struct Slope {
  Value y;
  Value x;
};

template <typename Value, typename Weight>
ROI_ALIGN_INLINE Slope<Value> slope(const Value& top_left, const Value& top_right, const Value& bottom_left,
                                    const Value& bottom_right, Weight lx, Weight ly, const Value& g) {
  return {((Weight(1) - lx) * (bottom_left - top_left) + lx * (bottom_right - top_right)) * g,
          ((Weight(1) - ly) * (top_right - top_left) + ly * (bottom_right - bottom_left)) * g};
}

// lanes[i] += values[i] * factor, in double.
template <typename T>
void add_scaled(double* lanes, const T* values, double factor) {
  for (int64_t lane = 0; lane < kBlock; ++lane) lanes[lane] += static_cast<double>(values[lane]) * factor;
}

// The sum of the lanes, as a tree: halves are added until one is left.
inline double sum_of(double* lanes) {
  for (int64_t half = kBlock / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// The sums of one box and one block of channels, a lane for each channel.
template <typename T>
struct EdgeSums {
  T row[kBlock];
  std::vector<T> columns;  // [crop width][kBlock]
  double y1[kBlock], y2[kBlock];

  explicit EdgeSums(int64_t crop_width) : columns(static_cast<size_t>(crop_width * kBlock)) { clear(); }

  void clear() {
    std::fill(row, row + kBlock, T(0));
    std::fill(columns.begin(), columns.end(), T(0));
    std::fill(y1, y1 + kBlock, 0.0);
    std::fill(y2, y2 + kBlock, 0.0);
  }

  // A row of samples is complete.
  void end_row(const EdgeSlopes& move) {
    add_scaled(y1, row, move.a1);
    add_scaled(y2, row, move.a2);
    std::fill(row, row + kBlock, T(0));
  }

  // Adds all lanes to the box's four edges.
  void finish(BoxRule rule, const std::vector<EdgeSlopes>& move_x, double* edges) {
    double x1[kBlock] = {}, x2[kBlock] = {};
    for (size_t i = 0; i < move_x.size(); ++i) {
      add_scaled(x1, columns.data() + i * kBlock, move_x[i].a1);
      add_scaled(x2, columns.data() + i * kBlock, move_x[i].a2);
    }
    const int y = rule == BoxRule::kNormalized ? 0 : 1, x = 1 - y;
    edges[y] += sum_of(y1);
    edges[x] += sum_of(x1);
    edges[y + 2] += sum_of(y2);
    edges[x + 2] += sum_of(x2);
  }
};

// What the samples of any box of a call have in common.
template <typename T>
struct BoxGradient {
  const ConstView& grad_crops;
  const BoxTable& boxes;
  std::vector<EdgeSlopes> move_y, move_x;

  BoxGradient(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes)
      : grad_crops(grad_crops), boxes(boxes) {
    for (int64_t y = 0; y < grad_crops.size[2]; ++y) {
      move_y.push_back(edge_slopes(boxes.rule(), y, image.size[2], grad_crops.size[2]));
    }
    for (int64_t x = 0; x < grad_crops.size[3]; ++x) {
      move_x.push_back(edge_slopes(boxes.rule(), x, image.size[3], grad_crops.size[3]));
    }
  }

  const T* upstream(int64_t row, int64_t c, int64_t y, int64_t x) const {
    return static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0] + c * grad_crops.stride[1] +
           y * grad_crops.stride[2] + x * grad_crops.stride[3];
  }
};

template <typename T>
ROI_ALIGN_INLINE void sum_channels(const T* top_left, const T* top_right, const T* bottom_left, const T* bottom_right,
                                   T lx, T ly, const T* g, int64_t channels, T* row, T* column) {
  using L = Lanes<T>;
  int64_t c = 0;
  for (; c + L::kCount <= channels; c += L::kCount) {
    const auto s = slope(L::load(top_left + c), L::load(top_right + c), L::load(bottom_left + c),
                         L::load(bottom_right + c), lx, ly, L::load(g + c));
    L::store(row + c, L::load(row + c) + s.y);
    L::store(column + c, L::load(column + c) + s.x);
  }
  for (; c < channels; ++c) {
    const auto s = slope(top_left[c], top_right[c], bottom_left[c], bottom_right[c], lx, ly, g[c]);
    row[c] += s.y;
    column[c] += s.x;
  }
}

// Blocks of channels that are summed side by side, each in sums of its own: a sample's taps serve all of them.
constexpr int64_t kSideBySide = 4;

// Up to kSideBySide blocks of channels of pixels whose channels are innermost. An upstream gradient whose channels are
// not is turned, a few rows at a time. Inlined, so that a caller's constant number of channels stays a constant.
template <typename T>
ROI_ALIGN_INLINE void sum_pixels(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels,
                                 const Pixels<const T>& image, std::vector<T>& scratch, EdgeSums<T>* sums) {
  const ConstView& crops = of.grad_crops;
  const BoxTaps<T> taps = of.boxes.template taps<T>(row);
  const bool turn = crops.stride[1] != 1;
  constexpr int64_t turned_stride = kSideBySide * kBlock;
  const int64_t width = crops.size[3], rows = tile_rows<T>(crops.size[2], width);
  if (turn) scratch.resize(static_cast<size_t>(rows * width * turned_stride));
  Pixels<const T> grad{of.upstream(row, first, 0, 0), crops.stride[2], crops.stride[3]};
  for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
    if (turn && (y - taps.y.begin) % rows == 0) {
      const int64_t there = std::min(rows, crops.size[2] - y);
      for (int64_t c = 0; c < channels; c += kBlock) {
        turn_rows_in<turned_stride>(of.upstream(row, first + c, y, 0), crops.stride[1], crops.stride[2],
                                    crops.stride[3], std::min(kBlock, channels - c), there, width, scratch.data() + c);
      }
      grad = {scratch.data(), width * turned_stride, turned_stride, y};
    }
    const Tap<T>& ty = taps.y[y];
    const T *top = image.at(ty.low, 0), *bottom = image.at(ty.high, 0);
    const bool one_block = channels == kBlock;
    T held[kBlock] = {};  // the row's sums of a single block stay in a register
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
      const int64_t left = tx.low * image.pixel_stride, right = tx.high * image.pixel_stride;
      const T* const g = grad.at(y, x);
      for (int64_t c = 0; c < channels; c += kBlock) {
        EdgeSums<T>& block = sums[c / kBlock];
        sum_channels(top + left + c, top + right + c, bottom + left + c, bottom + right + c, tx.weight, ty.weight,
                     g + c, std::min(kBlock, channels - c), one_block ? held : block.row,
                     block.columns.data() + x * kBlock);
      }
    }
    if (one_block) std::copy(held, held + kBlock, sums[0].row);
    for (int64_t c = 0; c < channels; c += kBlock) sums[c / kBlock].end_row(of.move_y[static_cast<size_t>(y)]);
  }
}

// Up to kBlock planes where they lie, one after the other.
template <typename T>
void sum_planes(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels, const ConstView& image,
                EdgeSums<T>& sums) {
  const T* planes = static_cast<const T*>(image.data) + of.boxes.span(row).image * image.stride[0];
  const BoxTaps<T> taps = of.boxes.template taps<T>(row);
  for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
    const Tap<T>& ty = taps.y[y];
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = planes + (first + c) * image.stride[1];
      const T *top = plane + ty.low * image.stride[2], *bottom = plane + ty.high * image.stride[2];
      const T* grad = of.upstream(row, first + c, y, 0);
      T row_sum = sums.row[c];  // in a register: additions to memory would wait for each other's stores
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<T>& tx = taps.x[x];
        const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
        const Slope<T> s = slope(top[left], top[right], bottom[left], bottom[right], tx.weight, ty.weight,
                                 grad[x * of.grad_crops.stride[3]]);
        row_sum += s.y;
        sums.columns[static_cast<size_t>(x * kBlock + c)] += s.x;
      }
      sums.row[c] = row_sum;
    }
    sums.end_row(of.move_y[static_cast<size_t>(y)]);
  }
}

// All channels of an image that has up to four. What only depends on the pixels is kept while samples stay between the
// same ones.
template <int channels, typename T>
void sum_cells(const BoxGradient<T>& of, int64_t row, const ConstView& image, EdgeSums<T>& sums) {
  using Vector = typename Cell<T>::Vector;
  const BoxTaps<T> taps = of.boxes.template taps<T>(row);
  const T* const pixels = static_cast<const T*>(image.data) + of.boxes.span(row).image * image.stride[0];
  for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
    const Tap<T>& ty = taps.y[y];
    const T *const top = pixels + ty.low * image.stride[2], *const bottom = pixels + ty.high * image.stride[2];
    const T* const grad = of.upstream(row, 0, y, 0);
    Vector left_down{}, right_down{}, top_across{}, bottom_across{}, row_sum{};
    int64_t low = -1, high = -1;
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
      if (tx.low != low || tx.high != high) {
        low = tx.low;
        high = tx.high;
        Vector top_left, top_right, bottom_left, bottom_right;
        gather_cell<channels>(top + low * image.stride[3], image.stride[1], &top_left);
        gather_cell<channels>(top + high * image.stride[3], image.stride[1], &top_right);
        gather_cell<channels>(bottom + low * image.stride[3], image.stride[1], &bottom_left);
        gather_cell<channels>(bottom + high * image.stride[3], image.stride[1], &bottom_right);
        left_down = bottom_left - top_left;
        right_down = bottom_right - top_right;
        top_across = top_right - top_left;
        bottom_across = bottom_right - bottom_left;
      }
      Vector g, column;
      gather_cell<channels>(grad + x * of.grad_crops.stride[3], of.grad_crops.stride[1], &g);
      T* const column_sum = sums.columns.data() + x * kBlock;
      Cell<T>::load(column_sum, &column);
      row_sum += ((T(1) - tx.weight) * left_down + tx.weight * right_down) * g;
      Cell<T>::store(column_sum, column + ((T(1) - ty.weight) * top_across + ty.weight * bottom_across) * g);
    }
    Cell<T>::store(sums.row, row_sum);
    sums.end_row(of.move_y[static_cast<size_t>(y)]);
  }
}

// One box of an image of up to kCell channels.
template <typename T>
void sum_few_channels(const BoxGradient<T>& of, int64_t row, const ConstView& image, EdgeSums<T>& sums) {
  switch (image.size[1]) {
    case 1:
      return sum_cells<1>(of, row, image, sums);
    case 2:
      return sum_cells<2>(of, row, image, sums);
    case 3:
      return sum_cells<3>(of, row, image, sums);
    default:
      return sum_cells<4>(of, row, image, sums);
  }
}

// The box's sums over up to kSideBySide blocks of channels, from pixels, added to its four edges block after block.
template <typename T>
void sum_blocks(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels, const Pixels<const T>& image,
                std::vector<T>& scratch, std::vector<EdgeSums<T>>& sums, double* edges) {
  for (int64_t c = 0; c < channels; c += kBlock) sums[static_cast<size_t>(c / kBlock)].clear();
  if (channels == kSideBySide * kBlock) {
    sum_pixels(of, row, first, kSideBySide * kBlock, image, scratch, sums.data());
  } else if (channels == kBlock) {
    sum_pixels(of, row, first, kBlock, image, scratch, sums.data());
  } else {
    sum_pixels(of, row, first, channels, image, scratch, sums.data());
  }
  for (int64_t c = 0; c < channels; c += kBlock) {
    sums[static_cast<size_t>(c / kBlock)].finish(of.boxes.rule(), of.move_x, edges);
  }
}

template <typename T>
void grad_boxes_turned(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes, double* partial,
                       const Plan& plan, Units* units) {
  const BoxGradient<T> of(grad_crops, image, boxes);
  std::vector<EdgeSums<T>> sums(1, EdgeSums<T>(grad_crops.size[3]));
  std::vector<T> scratch;
  TurnedBlock<T> turned;
  for (int64_t unit; units->take(&unit);) {
    const int64_t block = unit / plan.parts % plan.channel_blocks, n = unit / plan.parts / plan.channel_blocks;
    const int64_t first = block * kBlock, channels = std::min(kBlock, image.size[1] - first);
    const Part part = part_of(boxes.first_of(n), boxes.first_of(n + 1), unit % plan.parts, plan.parts);
    if (part.begin == part.end) continue;
    const Pixels<const T> pixels{turned.of(image, n, first), image.size[3] * kBlock, kBlock};
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      if (grad_crops.stride[1] != 1) {
        expect(of.upstream(boxes.row_at(std::min(position + 1, part.end - 1)), first, 0, 0),
               channels * grad_crops.stride[1]);
      }
      sum_blocks(of, row, first, channels, pixels, scratch, sums, partial + (block * boxes.count() + row) * 4);
    }
  }
}

template <typename T>
void grad_boxes_of(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes, double* partial,
                   const Plan& plan, Units* units) {
  if (plan.path == Path::kTurned) return grad_boxes_turned<T>(grad_crops, image, boxes, partial, plan, units);
  const BoxGradient<T> of(grad_crops, image, boxes);
  const int64_t together = plan.path == Path::kChannels ? kSideBySide * kBlock : kBlock;
  std::vector<EdgeSums<T>> sums(static_cast<size_t>(together / kBlock), EdgeSums<T>(grad_crops.size[3]));
  std::vector<T> scratch;
  for (int64_t unit; units->take(&unit);) {
    const Part part = part_of(0, boxes.count(), unit, plan.parts);
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      if (image.size[1] <= kCell) {
        sums[0].clear();
        sum_few_channels(of, row, image, sums[0]);
        sums[0].finish(boxes.rule(), of.move_x, partial + row * 4);
        continue;
      }
      const T* base = static_cast<const T*>(image.data) + boxes.span(row).image * image.stride[0];
      for (int64_t first = 0; first < image.size[1]; first += together) {
        const int64_t channels = std::min(together, image.size[1] - first);
        if (plan.path == Path::kChannels) {
          sum_blocks(of, row, first, channels, {base + first, image.stride[2], image.stride[3]}, scratch, sums,
                     partial + row * 4);
        } else {
          sums[0].clear();
          sum_planes(of, row, first, channels, image, sums[0]);
          sums[0].finish(boxes.rule(), of.move_x, partial + row * 4);
        }
      }
    }
  }
}

void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes, double* partial,
                const Plan& plan, Units* units) {
  if (image.dtype == DType::kFloat64) {
    grad_boxes_of<double>(grad_crops, image, boxes, partial, plan, units);
  } else {
    grad_boxes_of<float>(grad_crops, image, boxes, partial, plan, units);
  }
}
