// The image gradient on the CPU: every sample adds its upstream gradient to the four pixels that it read.
//
// Boxes overlap, so many samples add to one pixel. Instead of atomics, a unit of work owns pixels (a block of channels
// in a band of rows) and goes through all boxes of its image; other units add to the pixels outside. The sum at every
// pixel then has the order of the boxes, which is TensorFlow's order and the same for any number of threads.
//
// A unit sums in scratch memory that stays in the second-level cache, with channels innermost in every layout
// (scatter.inl), and writes its part of the gradient once (tile.inl).

template <Method method, int channels, typename T>
void grad_image_cells(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                      Units* units) {
  const bool large = !plan.fresh && streams<T>(image, 0);
  const int64_t row_stride = (image.size[3] + 1) * kCell;
  std::vector<T> scratch, spare(static_cast<size_t>(row_stride));
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    const std::vector<int64_t>& rows = reaching(tile, boxes, &reached);
    if (rows.empty()) {
      clear<T>(image, tile, large);
      continue;
    }
    scratch.assign(static_cast<size_t>(tile.rows() * row_stride), T(0));
    const Pixels<T> sums{scratch.data(), row_stride, kCell, tile.row_begin};
    for (const int64_t row : rows) {
      scatter_cells<method, channels>(grad_crops, row, boxes.taps<T>(row), sums, tile, spare.data());
    }
    write_cells<channels>(sums, image, tile);
  }
  stream_fence();
}

template <Method method, typename T>
void grad_image_direct(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                       Units* units) {
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    clear<T>(image, tile, false);
    for (const int64_t row : reaching(tile, boxes, &reached)) {
      scatter_planes<method>(grad_crops, row, boxes.taps<T>(row), image, tile);
    }
  }
}

template <Method method, typename T>
void grad_image_by(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                   Units* units) {
  const int64_t width = image.size[3];
  const bool large = !plan.fresh && streams<T>(image, 0);
  std::vector<T> scratch, turned;
  std::vector<int64_t> reached;
  for (int64_t unit; units->take(&unit);) {
    const Tile tile = tile_of(plan, image, unit);
    // The scratch has full blocks of channels, as a turn into planes requires.
    const int64_t stride = plan.path == Path::kTurned ? plan.channel_block : tile.channels();
    const std::vector<int64_t>& rows = reaching(tile, boxes, &reached);
    if (rows.empty()) {
      clear<T>(image, tile, large);
      continue;
    }
    scratch.assign(static_cast<size_t>(tile.rows() * width * stride), T(0));
    const Pixels<T> sums{scratch.data(), width * stride, stride, tile.row_begin};
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t next = rows[std::min(i + 1, rows.size() - 1)];
      scatter_box<method>(grad_crops, rows[i], boxes.taps<T>(rows[i]), sums, tile, turned, next);
    }
    write_sums(scratch.data(), stride, image, tile, plan.path, large);
  }
  stream_fence();
}

template <Method method, typename T>
void grad_image_in(const ConstView& grad_crops, const BoxTable& boxes, const View& image, const Plan& plan,
                   Units* units) {
  if (plan.path == Path::kDirect) return grad_image_direct<method, T>(grad_crops, boxes, image, plan, units);
  if (plan.path != Path::kCells) return grad_image_by<method, T>(grad_crops, boxes, image, plan, units);
  switch (image.size[1]) {
    case 1: return grad_image_cells<method, 1, T>(grad_crops, boxes, image, plan, units);
    case 2: return grad_image_cells<method, 2, T>(grad_crops, boxes, image, plan, units);
    case 3: return grad_image_cells<method, 3, T>(grad_crops, boxes, image, plan, units);
    default: return grad_image_cells<method, 4, T>(grad_crops, boxes, image, plan, units);
  }
}

template <typename T>
void grad_image_of(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& image,
                   const Plan& plan, Units* units) {
  if (method == Method::kNearest) {
    grad_image_in<Method::kNearest, T>(grad_crops, boxes, image, plan, units);
  } else {
    grad_image_in<Method::kBilinear, T>(grad_crops, boxes, image, plan, units);
  }
}

void grad_image(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& image, const Plan& plan,
                Units* units) {
  if (image.dtype == DType::kFloat64) {
    grad_image_of<double>(grad_crops, boxes, method, image, plan, units);
  } else {
    grad_image_of<float>(grad_crops, boxes, method, image, plan, units);
  }
}
