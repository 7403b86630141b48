// A tile, the part of the image gradient that a unit of work owns: the boxes and samples that reach it, and the writing
// of its sums, once, past the caches if the gradient is large.

struct Tile {
  int64_t n, channel_begin, channel_end, row_begin, row_end;

  int64_t channels() const { return channel_end - channel_begin; }
  int64_t rows() const { return row_end - row_begin; }
  bool has_row(int64_t row) const { return row >= row_begin && row < row_end; }
  bool meets(const BoxSpan& box) const { return box.first_row < row_end && box.last_row >= row_begin; }
};

inline Tile tile_of(const Plan& plan, const View& image, int64_t unit) {
  const Part rows = part_of(0, image.size[2], unit % plan.parts, plan.parts);
  const int64_t block = unit / plan.parts % plan.channel_blocks;
  return {unit / plan.parts / plan.channel_blocks, block * plan.channel_block,
          std::min(image.size[1], (block + 1) * plan.channel_block), rows.begin, rows.end};
}

// The boxes that may contribute to a tile, in their order.
inline const std::vector<int64_t>& reaching(const Tile& tile, const BoxTable& boxes, std::vector<int64_t>* rows) {
  rows->clear();
  for (int64_t position = boxes.first_of(tile.n); position < boxes.first_of(tile.n + 1); ++position) {
    const int64_t row = boxes.row_at(position);
    if (tile.meets(boxes.span(row))) rows->push_back(row);
  }
  return *rows;
}

// The samples of a box that contribute to a tile; positions are monotonic, so they are consecutive.
template <typename T> Part rows_for(const Tile& tile, const AxisTaps<T>& taps) {
  const auto meets = [&](int64_t y) { return tile.has_row(taps[y].low) || tile.has_row(taps[y].high); };
  Part part{taps.begin, taps.end};
  while (part.begin < part.end && !meets(part.begin)) ++part.begin;
  while (part.begin < part.end && !meets(part.end - 1)) --part.end;
  return part;
}

// Writes a run of the gradient, zeros if `from` is null, past the caches if it consists of whole lines of a large
// result.
template <typename T> void write_run(const T* from, int64_t count, T* to, bool large) {
  const bool lines = (reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(count * sizeof(T))) % 64 == 0;
  if (large && lines) {
    using L = Lanes<T>;
    for (int64_t i = 0; i < count; i += L::kCount) {
      L::stream(to + i, from == nullptr ? typename L::Vector{} : L::load(from + i));
    }
  } else if (from == nullptr) {
    std::fill(to, to + count, T(0));
  } else {
    std::copy(from, from + count, to);
  }
}

// Writes the sums of a tile of cells into planes or pixels. The number of channels is a constant.
template <int channels, typename T> void write_cells(const Pixels<T>& sums, const View& image, const Tile& tile) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0];
  for (int64_t y = tile.row_begin; y < tile.row_end; ++y) {
    const T* const cells = sums.at(y, 0);
    T* const row = base + y * image.stride[2];
    if (image.stride[3] == 1) {
      for (int c = 0; c < channels; ++c) {
        for (int64_t x = 0; x < image.size[3]; ++x) row[c * image.stride[1] + x] = cells[x * kCell + c];
      }
    } else {
      for (int64_t x = 0; x < image.size[3]; ++x) {
        for (int c = 0; c < channels; ++c) row[x * channels + c] = cells[x * kCell + c];
      }
    }
  }
}

// Writes zeros: for a tile that no box reaches, and before additions in place.
template <typename T> void clear(const View& image, const Tile& tile, bool large) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2];
  const int64_t pixels = tile.rows() * image.size[3];
  if (image.stride[1] != 1 || image.size[1] == 1) {
    for (int64_t c = tile.channel_begin; c < tile.channel_end; ++c) {
      write_run<T>(nullptr, pixels, base + c * image.stride[1], large);
    }
  } else if (tile.channels() == image.size[1]) {
    write_run<T>(nullptr, pixels * image.size[1], base, large);
  } else {
    for (int64_t i = 0; i < pixels; ++i) {
      write_run<T>(nullptr, tile.channels(), base + i * image.size[1] + tile.channel_begin, large);
    }
  }
}

// Writes the sums of a tile, whose pixels are `stride` channels apart, into the gradient.
template <typename T>
void write_sums(const T* sums, int64_t stride, const View& image, const Tile& tile, Path path, bool large) {
  T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2] +
                  tile.channel_begin * image.stride[1];
  const int64_t pixels = tile.rows() * image.size[3];
  if (path == Path::kTurned) {
    turn_group_out(sums, stride, pixels, base, image.stride[1], tile.channels(), large);
  } else if (stride == image.size[1]) {
    write_run(sums, pixels * stride, base, large);
  } else {
    for (int64_t i = 0; i < pixels; ++i) write_run(sums + i * stride, stride, base + i * image.size[1], large);
  }
}
