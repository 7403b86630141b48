// What the gradient of the boxes sums up, and in which order: a sample's slopes, and those of a row, a column and a
// box.

// d(interpolated)/d(position) * upstream, for one channel or a vector of them. At an integer position both pixels are
// one and the slope there is 0.
template <typename Value> struct Slope {
  Value y;
  Value x;
};

template <typename Value, typename Weight>
ROI_ALIGN_INLINE Slope<Value> slope(const Value& top_left, const Value& top_right, const Value& bottom_left,
                                    const Value& bottom_right, Weight lx, Weight ly, const Value& g) {
  return {((Weight(1) - lx) * (bottom_left - top_left) + lx * (bottom_right - top_right)) * g,
          ((Weight(1) - ly) * (top_right - top_left) + ly * (bottom_right - bottom_left)) * g};
}

// sums[i] += values[i] * factor for whole vectors, in double. Spelled out: the compiler widens one number at a time.
template <typename T> void add_scaled(double* sums, const T* values, double factor, int64_t count) {
  using L = Lanes<double>;
  typedef T Narrow __attribute__((vector_size(L::kCount * sizeof(T))));
  for (int64_t i = 0; i < count; i += L::kCount) {
    Narrow narrow;
    std::memcpy(&narrow, values + i, sizeof(narrow));
    L::store(sums + i, L::load(sums + i) + __builtin_convertvector(narrow, typename L::Vector) * factor);
  }
}

// The sum of a block's lanes, as a tree: halves are added until one is left.
inline double sum_of(double* lanes) {
  for (int64_t half = kBlock / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// The sums of one box over up to `channels` of its channels, whole blocks of them; a channel that is missing stays 0.
template <typename T> struct EdgeSums {
  const int64_t channels;
  std::vector<T> row, columns;  // [channels], [crop width][channels]
  std::vector<double> y1, y2, x1, x2;

  EdgeSums(int64_t channels, int64_t crop_width)
      : channels(channels),
        row(static_cast<size_t>(channels)),
        columns(static_cast<size_t>(crop_width * channels)),
        y1(row.size()),
        y2(row.size()),
        x1(row.size()),
        x2(row.size()) {}

  T* column(int64_t x) { return columns.data() + x * channels; }

  void clear() {
    std::fill(columns.begin(), columns.end(), T(0));
    for (std::vector<double>* edge : {&y1, &y2, &x1, &x2}) std::fill(edge->begin(), edge->end(), 0.0);
  }

  // A row of samples starts; its sums are complete.
  void begin_row() { std::fill(row.begin(), row.end(), T(0)); }
  void end_row(const EdgeSlopes& move) {
    add_scaled(y1.data(), row.data(), move.a1, channels);
    add_scaled(y2.data(), row.data(), move.a2, channels);
  }

  // Adds all lanes to the box's four edges, one block of channels after the other.
  void finish(BoxRule rule, const std::vector<EdgeSlopes>& move_x, double* edges) {
    for (size_t i = 0; i < move_x.size(); ++i) {
      add_scaled(x1.data(), column(static_cast<int64_t>(i)), move_x[i].a1, channels);
      add_scaled(x2.data(), column(static_cast<int64_t>(i)), move_x[i].a2, channels);
    }
    const int y = rule == BoxRule::kNormalized ? 0 : 1, x = 1 - y;
    for (int64_t block = 0; block < channels; block += kBlock) {
      edges[y] += sum_of(y1.data() + block);
      edges[x] += sum_of(x1.data() + block);
      edges[y + 2] += sum_of(y2.data() + block);
      edges[x + 2] += sum_of(x2.data() + block);
    }
  }
};

// What the samples of any box of a call have in common.
template <typename T> struct BoxGradient {
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
