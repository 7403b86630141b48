// The gradient of the boxes on the CPU: how the crop changes when an edge moves.
//
// The derivative of the bilinear formula with respect to the sample position, times how far each edge moves the sample.
// (The nearest method is flat between its jumps; like TensorFlow's, its box gradient is the bilinear one.) Sums run in
// double, channel by channel over the samples, and then over the channels, kBlock at a time: the same order on every
// path, so layouts give the same bits, and a large crop costs no accuracy.

template <typename T>
struct Slope {
  T y;
  T x;
};

// d(interpolated)/d(position) * upstream. At an integer position both pixels are one and the slope there is 0.
template <typename T>
Slope<T> slope(T top_left, T top_right, T bottom_left, T bottom_right, T lx, T ly, T g) {
  return {((T(1) - lx) * (bottom_left - top_left) + lx * (bottom_right - top_right)) * g,
          ((T(1) - ly) * (top_right - top_left) + ly * (bottom_right - bottom_left)) * g};
}

// The sums of one box and one block of channels, a lane for each channel.
struct EdgeSums {
  double y1[kBlock] = {}, x1[kBlock] = {}, y2[kBlock] = {}, x2[kBlock] = {};

  template <typename T>
  void add(int64_t lane, const Slope<T>& s, const EdgeSlopes& move_y, const EdgeSlopes& move_x) {
    const double y = s.y, x = s.x;
    y1[lane] += y * move_y.a1;
    y2[lane] += y * move_y.a2;
    x1[lane] += x * move_x.a1;
    x2[lane] += x * move_x.a2;
  }

  // Adds its lanes to the box's four columns.
  void finish(BoxRule rule, double* columns) const {
    const int y = rule == BoxRule::kNormalized ? 0 : 1, x = 1 - y;
    double sums[4] = {};
    for (int64_t lane = 0; lane < kBlock; ++lane) {
      sums[y] += y1[lane];
      sums[x] += x1[lane];
      sums[y + 2] += y2[lane];
      sums[x + 2] += x2[lane];
    }
    for (int column = 0; column < 4; ++column) columns[column] += sums[column];
  }
};

// What the samples of any box of a call have in common.
template <typename T>
struct BoxGradient {
  const ConstView& grad_crops;
  const BoxList& boxes;
  int64_t height, width;
  std::vector<EdgeSlopes> move_y, move_x;
  BoxTaps<T> taps;

  BoxGradient(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes)
      : grad_crops(grad_crops),
        boxes(boxes),
        height(image.size[2]),
        width(image.size[3]),
        taps(grad_crops.size[2], grad_crops.size[3]) {
    for (int64_t y = 0; y < grad_crops.size[2]; ++y) {
      move_y.push_back(edge_slopes(boxes.rule, y, height, grad_crops.size[2]));
    }
    for (int64_t x = 0; x < grad_crops.size[3]; ++x) {
      move_x.push_back(edge_slopes(boxes.rule, x, width, grad_crops.size[3]));
    }
  }

  void fill(int64_t row) { taps.fill(boxes, row, Method::kBilinear, height, width); }

  const T* upstream(int64_t row, int64_t c, int64_t y, int64_t x) const {
    return static_cast<const T*>(grad_crops.data) + row * grad_crops.stride[0] + c * grad_crops.stride[1] +
           y * grad_crops.stride[2] + x * grad_crops.stride[3];
  }
};

template <typename T>
void sum_sample(const T* top_left, const T* top_right, const T* bottom_left, const T* bottom_right, T lx, T ly,
                const T* g, int64_t channels, const EdgeSlopes& move_y, const EdgeSlopes& move_x, EdgeSums& sums) {
  for (int64_t c = 0; c < channels; ++c) {
    sums.add(c, slope(top_left[c], top_right[c], bottom_left[c], bottom_right[c], lx, ly, g[c]), move_y, move_x);
  }
}

// Up to kBlock channels of pixels whose channels are innermost. An upstream gradient whose channels are not is turned.
template <typename T>
void sum_pixels(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels, const Pixels<const T>& image,
                std::vector<T>& scratch, EdgeSums& sums) {
  const ConstView& crops = of.grad_crops;
  const bool turn = crops.stride[1] != 1;
  const int64_t crop_width = crops.size[3];
  if (turn) scratch.resize(static_cast<size_t>(crop_width * kBlock));
  for (int64_t y = of.taps.y.begin; y < of.taps.y.end; ++y) {
    const Tap<T> ty = of.taps.y[y];
    if (turn) {
      turn_in(of.upstream(row, first, y, 0), crops.stride[1], crops.stride[3], channels, crop_width, scratch.data());
    }
    for (int64_t x = of.taps.x.begin; x < of.taps.x.end; ++x) {
      const Tap<T> tx = of.taps.x[x];
      const T* g = turn ? scratch.data() + x * kBlock : of.upstream(row, first, y, x);
      const T *top_left = image.at(ty.low, tx.low), *top_right = image.at(ty.low, tx.high);
      const T *bottom_left = image.at(ty.high, tx.low), *bottom_right = image.at(ty.high, tx.high);
      const EdgeSlopes &move_y = of.move_y[static_cast<size_t>(y)], &move_x = of.move_x[static_cast<size_t>(x)];
      // The usual case spelled out, so that the compiler knows the number of lanes.
      if (channels == kBlock) {
        sum_sample(top_left, top_right, bottom_left, bottom_right, tx.weight, ty.weight, g, kBlock, move_y, move_x,
                   sums);
      } else {
        sum_sample(top_left, top_right, bottom_left, bottom_right, tx.weight, ty.weight, g, channels, move_y, move_x,
                   sums);
      }
    }
  }
}

// Up to kBlock planes where they lie, one after the other.
template <typename T>
void sum_planes(const BoxGradient<T>& of, int64_t row, int64_t first, int64_t channels, const ConstView& image,
                EdgeSums& sums) {
  const T* planes = static_cast<const T*>(image.data) + image_index(of.boxes, row) * image.stride[0];
  for (int64_t c = 0; c < channels; ++c) {
    const T* plane = planes + (first + c) * image.stride[1];
    for (int64_t y = of.taps.y.begin; y < of.taps.y.end; ++y) {
      const Tap<T> ty = of.taps.y[y];
      const T *top = plane + ty.low * image.stride[2], *bottom = plane + ty.high * image.stride[2];
      for (int64_t x = of.taps.x.begin; x < of.taps.x.end; ++x) {
        const Tap<T> tx = of.taps.x[x];
        const int64_t left = tx.low * image.stride[3], right = tx.high * image.stride[3];
        sums.add(c,
                 slope(top[left], top[right], bottom[left], bottom[right], tx.weight, ty.weight,
                       *of.upstream(row, first + c, y, x)),
                 of.move_y[static_cast<size_t>(y)], of.move_x[static_cast<size_t>(x)]);
      }
    }
  }
}

template <typename T>
void grad_boxes_turned(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, double* partial,
                       const Plan& plan, int64_t begin, int64_t end) {
  BoxGradient<T> of(grad_crops, image, boxes);
  std::vector<T> scratch;
  TurnedBlock<T> turned;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t block = unit / plan.parts % plan.channel_blocks, n = unit / plan.parts / plan.channel_blocks;
    const int64_t first = block * plan.channel_block, channels = std::min(kBlock, image.size[1] - first);
    const Part part = part_of(boxes.count, unit % plan.parts, plan.parts);
    for (int64_t row = part.begin; row < part.end; ++row) {
      if (image_index(boxes, row) != n) continue;
      of.fill(row);
      EdgeSums sums;
      sum_pixels(of, row, first, channels, turned.of(image, n, block, plan), scratch, sums);
      sums.finish(boxes.rule, partial + (block * boxes.count + row) * 4);
    }
  }
}

template <typename T>
void grad_boxes_of(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, double* partial,
                   const Plan& plan, int64_t begin, int64_t end) {
  if (plan.path == Path::kTurned) {
    grad_boxes_turned<T>(grad_crops, image, boxes, partial, plan, begin, end);
    return;
  }
  BoxGradient<T> of(grad_crops, image, boxes);
  std::vector<T> scratch;
  for (int64_t row = begin; row < end; ++row) {
    of.fill(row);
    const T* base = static_cast<const T*>(image.data) + image_index(boxes, row) * image.stride[0];
    for (int64_t first = 0; first < image.size[1]; first += kBlock) {
      const int64_t channels = std::min(kBlock, image.size[1] - first);
      EdgeSums sums;
      if (plan.path == Path::kChannels) {
        sum_pixels(of, row, first, channels, {base + first, image.stride[2], image.stride[3]}, scratch, sums);
      } else {
        sum_planes(of, row, first, channels, image, sums);
      }
      sums.finish(boxes.rule, partial + row * 4);
    }
  }
}

void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, double* partial,
                const Plan& plan, int64_t begin, int64_t end) {
  if (image.dtype == DType::kFloat64) {
    grad_boxes_of<double>(grad_crops, image, boxes, partial, plan, begin, end);
  } else {
    grad_boxes_of<float>(grad_crops, image, boxes, partial, plan, begin, end);
  }
}
