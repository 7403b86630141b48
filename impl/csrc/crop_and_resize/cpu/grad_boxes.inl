// The gradient of the boxes on the CPU: how the crop changes when an edge moves.
//
// The derivative of the bilinear formula with respect to the sample position, times how far each edge moves the sample.
// (The nearest method is flat between its jumps; like TensorFlow's, its box gradient is the bilinear one.) All samples
// of a row are moved alike by the y edges, and all of a column by the x edges: slopes are summed along rows and columns
// in the accumulate type, channel by channel, and from there on in double, kBlock channels at a time. That is one order
// on every path, so that layouts give the same bits.

// Channels that are summed side by side share a sample's taps, and the longer their runs the better the processor sees
// them coming: as many as their sums leave room for in half of a second-level cache. Fewer where the upstream gradient
// has to be turned, which wants to stay in the first level.
constexpr int64_t kSumsOfColumnsBytes = int64_t{128} << 10;
constexpr int64_t kTurnedSideBySide = 4 * kBlock;

// Channels of pixels whose channels are innermost. An upstream gradient whose channels are not is turned, a few rows
// and up to `most` channels at a time. Inlined, so that a caller's constant number of channels stays a constant.
template <int64_t most, typename T>
ROI_ALIGN_INLINE void sum_pixels(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels,
                                 const Pixels<const T>& image, std::vector<T>& scratch, EdgeSums<T>& sums) {
  const ConstView& crops = of.grad_crops;
  const BoxTaps<T> taps = of.boxes.template taps<T>(row);
  const bool turn = crops.stride[1] != 1;
  const int64_t width = crops.size[3], rows = tile_rows<T>(crops.size[2], width);
  if (turn) scratch.resize(static_cast<size_t>(rows * width * most));
  Pixels<const T> grad{of.upstream(row, first, 0, 0), crops.stride[2], crops.stride[3]};
  for (int64_t y = taps.y.begin; y < taps.y.end; ++y) {
    if (turn && (y - taps.y.begin) % rows == 0) {
      const int64_t there = std::min(rows, crops.size[2] - y);
      for (int64_t c = 0; c < channels; c += kBlock) {
        turn_rows_in<most>(of.upstream(row, first + c, y, 0), crops.stride[1], crops.stride[2], crops.stride[3],
                           std::min(kBlock, channels - c), there, width, scratch.data() + c);
      }
      grad = {scratch.data(), width * most, most, y};
    }
    const Tap<T>& ty = taps.y[y];
    const T *top = image.at(ty.low, 0), *bottom = image.at(ty.high, 0);
    const bool one_block = channels == kBlock;
    T held[kBlock] = {};  // the row's sums of a single block stay in a register
    sums.begin_row();
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
      const int64_t left = tx.low * image.pixel_stride, right = tx.high * image.pixel_stride;
      sum_channels(top + left, top + right, bottom + left, bottom + right, tx.weight, ty.weight, grad.at(y, x),
                   channels, one_block ? held : sums.row.data(), sums.column(x));
    }
    if (one_block) std::copy(held, held + kBlock, sums.row.data());
    sums.end_row(of.move_y[static_cast<size_t>(y)]);
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
    sums.begin_row();
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = planes + (first + c) * image.stride[1];
      const T *top = plane + ty.low * image.stride[2], *bottom = plane + ty.high * image.stride[2];
      const T* grad = of.upstream(row, first + c, y, 0);
      T row_sum(0);  // in a register: additions to memory would wait for each other's stores
      for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
        const Tap<T>& tx = taps.x[x];
        const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
        const Slope<T> s = slope(top[left], top[right], bottom[left], bottom[right], tx.weight, ty.weight,
                                 grad[x * of.grad_crops.stride[3]]);
        row_sum += s.y;
        sums.column(x)[c] += s.x;
      }
      sums.row[static_cast<size_t>(c)] = row_sum;
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
      T* const column_sum = sums.column(x);
      Cell<T>::load(column_sum, &column);
      row_sum += ((T(1) - tx.weight) * left_down + tx.weight * right_down) * g;
      Cell<T>::store(column_sum, column + ((T(1) - ty.weight) * top_across + ty.weight * bottom_across) * g);
    }
    Cell<T>::store(sums.row.data(), row_sum);
    sums.end_row(of.move_y[static_cast<size_t>(y)]);
  }
}

// One box of an image of up to kCell channels.
template <typename T>
void sum_few_channels(const BoxGradient<T>& of, int64_t row, const ConstView& image, EdgeSums<T>& sums) {
  switch (image.size[1]) {
    case 1: return sum_cells<1>(of, row, image, sums);
    case 2: return sum_cells<2>(of, row, image, sums);
    case 3: return sum_cells<3>(of, row, image, sums);
    default: return sum_cells<4>(of, row, image, sums);
  }
}

// The box's sums over some channels, from pixels, added to its four edges block after block.
template <typename T>
void sum_blocks(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels, const Pixels<const T>& image,
                std::vector<T>& scratch, EdgeSums<T>& sums, double* edges) {
  sums.clear();
  if (channels == kBlock) {
    sum_pixels<kBlock>(of, row, first, kBlock, image, scratch, sums);
  } else {
    sum_pixels<kTurnedSideBySide>(of, row, first, channels, image, scratch, sums);
  }
  sums.finish(of.boxes.rule(), of.move_x, edges);
}

template <typename T>
void grad_boxes_turned(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes, double* partial,
                       const Plan& plan, Units* units) {
  const BoxGradient<T> of(grad_crops, image, boxes);
  EdgeSums<T> sums(kBlock, grad_crops.size[3]);
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
  const int64_t fitting = kSumsOfColumnsBytes / (grad_crops.size[3] * kBlock * static_cast<int64_t>(sizeof(T)));
  const int64_t most = plan.path != Path::kChannels ? kBlock
                       : grad_crops.stride[1] != 1  ? kTurnedSideBySide
                                                    : std::max<int64_t>(1, fitting) * kBlock;
  const int64_t blocks = divide_up(image.size[1], kBlock);
  const int64_t together = divide_up(blocks, divide_up(blocks * kBlock, most)) * kBlock;  // parts of one size
  EdgeSums<T> sums(together, grad_crops.size[3]);
  std::vector<T> scratch;
  for (int64_t unit; units->take(&unit);) {
    const Part part = part_of(0, boxes.count(), unit, plan.parts);
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      if (image.size[1] <= kCell) {
        sums.clear();
        sum_few_channels(of, row, image, sums);
        sums.finish(boxes.rule(), of.move_x, partial + row * 4);
        continue;
      }
      const T* base = static_cast<const T*>(image.data) + boxes.span(row).image * image.stride[0];
      for (int64_t first = 0; first < image.size[1]; first += together) {
        const int64_t channels = std::min(together, image.size[1] - first);
        if (plan.path == Path::kChannels) {
          sum_blocks(of, row, first, channels, {base + first, image.stride[2], image.stride[3]}, scratch, sums,
                     partial + row * 4);
        } else {
          sums.clear();
          sum_planes(of, row, first, channels, image, sums);
          sums.finish(boxes.rule(), of.move_x, partial + row * 4);
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
