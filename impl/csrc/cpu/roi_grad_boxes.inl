// The gradient of roi_align's mean in its boxes.
//
// An edge moves samples, and a sample that moves changes the weights of the pixels that it lies between. So the gradient
// is the forward again, with the slopes of the weights in the place of the weights of one axis:
//   d y = sum of slope[y] * (sum over x of F[y][x] * G[x]),  G the upstream gradient spread over the columns,
//   d x = sum of slope[x] * V[x] * g,                        V the rows as the forward weighed them.
// Sums within a row have kBlock partial sums on every instruction set, and those over rows, bins and channels are made in
// double in one order.

// sum of pixels[i] * grad[i], in kBlock partial sums. A column that no sample reads lies in a run too, and gets no
// gradient: what it holds must not leak.
template <typename T>
ROI_ALIGN_INLINE double dot(const T* pixels, const T* grad, int64_t count) {
  constexpr int64_t kCount = Lanes<T>::kCount;
  typename Lanes<T>::Vector sums[kBlock / kCount] = {};
  const auto add = [&](const T* block_of_pixels, const T* block_of_grad) {
    for (int64_t v = 0; v < kBlock / kCount; ++v) {
      const auto g = Lanes<T>::load(block_of_grad + v * kCount);
      const auto product = Lanes<T>::load(block_of_pixels + v * kCount) * g;
      sums[v] += g == T(0) ? g : product;
    }
  };
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) add(pixels + i, grad + i);
  if (i < count) {
    T last_pixels[kBlock] = {}, last_grad[kBlock] = {};
    std::copy(pixels + i, pixels + count, last_pixels);
    std::copy(grad + i, grad + count, last_grad);
    add(last_pixels, last_grad);
  }
  T partial[kBlock];
  for (int64_t v = 0; v < kBlock / kCount; ++v) Lanes<T>::store(partial + v * kCount, sums[v]);
  double total = 0;
  for (int64_t lane = 0; lane < kBlock; ++lane) total += static_cast<double>(partial[lane]);
  return total;
}

template <typename T>
void grad_one_box(const RoiJob& job, const RoiTable<T>& box, const T* upstream, RowScratch<T>& scratch, double* grad) {
  const int64_t height = job.rule.height, line = job.rule.width, width = box.columns;
  const MapRows<const T> map = map_rows<const T>((*job.levels)[static_cast<size_t>(box.level)].map, box.image);
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  RowLane of{0, 0};
  for (int64_t lane = 0; lane < job.channels * height; lane += kBlock) {
    const int64_t lanes = std::min(kBlock, job.channels * height - lane);
    spread_columns(box, job, upstream + lane * line, lanes, scratch);
    turn_out(scratch.turned.data(), width, scratch.rows.data(), width, lanes);
    T* const weighed = scratch.turned.data();  // what was turned out is free again
    for (int64_t l = 0; l < lanes; ++l, of.next(height)) {
      const int64_t bin = of.bin;
      const T* const plane = map.plane(of.channel);
      const T* const columns = scratch.rows.data() + l * width;
      for (const BinSlope* slope = box.y.slopes_begin(bin); slope < box.y.slopes_end(bin); ++slope) {
        double along = 0;
        for (const Run* run = box.runs; run < box.runs + box.run_count; ++run) {
          along += dot(plane + slope->at * map.row_stride + run->first, columns + run->at, run->count);
        }
        y1 += slope->first * along;
        y2 += slope->second * along;
      }
      if (box.y.begin(bin) == box.y.end(bin)) continue;
      weigh_rows(box, bin, plane, map.row_stride, 1, weighed);
      for (int64_t j = 0; j < line; ++j) {
        const double g = static_cast<double>(upstream[(lane + l) * line + j]);
        for (const BinSlope* slope = box.x.slopes_begin(j); slope < box.x.slopes_end(j); ++slope) {
          const double here = g * static_cast<double>(weighed[slope->at]);
          x1 += slope->first * here;
          x2 += slope->second * here;
        }
      }
    }
  }
  grad[0] = x1;
  grad[1] = y1;
  grad[2] = x2;
  grad[3] = y2;
}

template <typename T>
void roi_grad_boxes_of(const RoiJob& job, const void* grad, double* grad_boxes, int64_t begin, int64_t end) {
  const RoiTables<T>& tables = *static_cast<const RoiTables<T>*>(job.tables);
  const int64_t values = job.channels * job.rule.height * job.rule.width;
  RowScratch<T> scratch(tables.most_columns, job.rule.width, 1);
  for (int64_t k = begin; k < end; ++k) {
    const RoiTable<T>& box = tables.boxes[static_cast<size_t>(k)];
    grad_one_box(job, box, static_cast<const T*>(grad) + box.row * values, scratch, grad_boxes + box.row * 4);
  }
}

void roi_grad_boxes(const RoiJob& job, const void* grad, double* grad_boxes, int64_t begin, int64_t end) {
  if (job.dtype == DType::kFloat64) {
    roi_grad_boxes_of<double>(job, grad, grad_boxes, begin, end);
  } else {
    roi_grad_boxes_of<float>(job, grad, grad_boxes, begin, end);
  }
}
