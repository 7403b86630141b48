// crop_and_resize, forward, on the CPU.
//
// The loop that matters is `interpolate_channels`: one sample, all channels of its pixels. Images with channels
// innermost come to it as they are, planes come to it turned (lanes.inl); where a few samples are taken from a large
// map, turning it would cost more than it saves, and `crop_planes` reads them where they lie. All interpolate in
// TensorFlow's order, each step rounded.

template <typename Value, typename Weight>
Value interpolate(const Value& top_left, const Value& top_right, const Value& bottom_left, const Value& bottom_right,
                  Weight lx, Weight ly) {
  const Value top = top_left + (top_right - top_left) * lx;
  const Value bottom = bottom_left + (bottom_right - bottom_left) * lx;
  return top + (bottom - top) * ly;
}

template <bool stream, typename T>
ROI_ALIGN_INLINE void interpolate_channels(const T* top_left, const T* top_right, const T* bottom_left,
                                           const T* bottom_right, T lx, T ly, T* out, int64_t channels) {
  using L = Lanes<T>;
  int64_t c = 0;
  for (; c + L::kCount <= channels; c += L::kCount) {
    const auto value = interpolate(L::load(top_left + c), L::load(top_right + c), L::load(bottom_left + c),
                                   L::load(bottom_right + c), lx, ly);
    stream ? L::stream(out + c, value) : L::store(out + c, value);
  }
  for (; c < channels; ++c) {
    out[c] = interpolate(top_left[c], top_right[c], bottom_left[c], bottom_right[c], lx, ly);
  }
}

// Rows y_begin to y_end of one box's crop. Inlined, so that a caller's constants stay constants.
template <Method method, bool stream, typename T>
ROI_ALIGN_INLINE void crop_pixels(const Pixels<const T>& image, const BoxTaps<T>& taps, T extrapolation,
                                  const Pixels<T>& crop, int64_t y_begin, int64_t y_end, int64_t crop_width,
                                  int64_t channels) {
  const auto leave_out = [&](T* row, int64_t x_begin, int64_t x_end) {
    for (int64_t x = x_begin; x < x_end; ++x) {
      std::fill(row + x * crop.pixel_stride, row + x * crop.pixel_stride + channels, extrapolation);
    }
  };
  for (int64_t y = y_begin; y < y_end; ++y) {
    T* row = crop.at(y, 0);
    if (y < taps.y.begin || y >= taps.y.end) {
      leave_out(row, 0, crop_width);
      continue;
    }
    leave_out(row, 0, taps.x.begin);
    const Tap<T>& ty = taps.y[y];
    const T *top = image.at(ty.low, 0), *bottom = image.at(ty.high, 0);
    const T ly = ty.weight;
    for (int64_t x = taps.x.begin; x < taps.x.end; ++x) {
      const Tap<T>& tx = taps.x[x];
      T* out = row + x * crop.pixel_stride;
      const int64_t left = tx.low * image.pixel_stride, right = tx.high * image.pixel_stride;
      if (method == Method::kNearest) {
        std::memcpy(out, top + left, static_cast<size_t>(channels) * sizeof(T));
      } else {
        interpolate_channels<stream>(top + left, top + right, bottom + left, bottom + right, tx.weight, ly, out,
                                     channels);
      }
    }
    leave_out(row, taps.x.end, crop_width);
  }
}

template <Method method, bool stream, typename T>
void forward_channels(const ConstView& image, const BoxTable& boxes, T extrapolation, const View& crops,
                      const Plan& plan, Units* units) {
  const bool few = crops.size[1] < kBlock / 2;
  const bool stream_rows = few && streams<T>(crops, crops.size[3] * crops.size[1]);
  ColumnRows<T> rows(few ? crops.size[3] : 0, crops.size[1], image.size[3]);
  for (int64_t unit; units->take(&unit);) {
    const int64_t first = unit / plan.parts * plan.channel_block;
    const int64_t channels = std::min(crops.size[1] - first, plan.channel_block);
    const Part part = part_of(0, boxes.count(), unit % plan.parts, plan.parts);
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      const BoxTaps<T> taps = boxes.taps<T>(row);
      const Pixels<const T> pixels{static_cast<const T*>(image.data) + boxes.span(row).image * image.stride[0] + first,
                                   image.stride[2], image.stride[3]};
      const Pixels<T> crop{static_cast<T*>(crops.data) + row * crops.stride[0] + first * crops.stride[1],
                           crops.stride[2], crops.stride[3]};
      if (few) {
        crop_few_channels<method>(pixels, channels, taps, extrapolation, crop.data, crops, stream_rows, rows);
      } else {
        crop_pixels<method, stream>(pixels, taps, extrapolation, crop, 0, crops.size[2], crops.size[3], channels);
      }
    }
  }
  if (stream || stream_rows) stream_fence();
}

template <Method method, typename T>
void forward_turned(const ConstView& image, const BoxTable& boxes, T extrapolation, const View& crops, const Plan& plan,
                    Units* units) {
  const int64_t crop_height = crops.size[2], crop_width = crops.size[3], crop_size = crop_height * crop_width;
  const int64_t rows_a_tile = tile_rows<T>(crop_height, crop_width);
  // A block of planes of one crop is one run if all blocks are full.
  const bool stream =
      streams<T>(crops, kBlock * crop_size) && rows_a_tile == crop_height && crops.size[1] % kBlock == 0;
  std::vector<T> tile(static_cast<size_t>(rows_a_tile * crop_width * kBlock)), planes(stream ? tile.size() : 0);
  TurnedBlock<T> turned;
  for (int64_t unit; units->take(&unit);) {
    const int64_t block = unit / plan.parts % plan.channel_blocks, n = unit / plan.parts / plan.channel_blocks;
    const int64_t first = block * kBlock, channels = std::min(kBlock, crops.size[1] - first);
    const Part part = part_of(boxes.first_of(n), boxes.first_of(n + 1), unit % plan.parts, plan.parts);
    if (part.begin == part.end) continue;
    const Pixels<const T> pixels{turned.of(image, n, first), image.size[3] * kBlock, kBlock};
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      const BoxTaps<T> taps = boxes.taps<T>(row);
      T* out = static_cast<T*>(crops.data) + row * crops.stride[0] + first * crops.stride[1];
      for (int64_t y = 0; y < crop_height; y += rows_a_tile) {
        const int64_t y_end = std::min(crop_height, y + rows_a_tile), count = (y_end - y) * crop_width;
        const Pixels<T> crop{tile.data(), crop_width * kBlock, kBlock, y};
        crop_pixels<method, false>(pixels, taps, extrapolation, crop, y, y_end, crop_width, kBlock);
        if (stream) {
          turn_out(tile.data(), count, planes.data(), crop_size, kBlock);
          stream_out(planes.data(), kBlock * crop_size, out);
        } else {
          turn_out(tile.data(), count, out + y * crop_width, crop_size, channels);
        }
      }
    }
  }
  if (stream) stream_fence();
}

// All boxes pass over a few planes before the next few, which then stay in cache.
template <Method method, typename T>
void forward_direct(const ConstView& image, const BoxTable& boxes, T extrapolation, const View& crops, const Plan& plan,
                    Units* units) {
  const bool stream = streams<T>(crops, crops.size[3]);
  ColumnRows<T> rows(crops.size[3], 1, image.size[3]);
  for (int64_t unit; units->take(&unit);) {
    const int64_t first = unit / plan.parts * plan.channel_block;
    const int64_t last = std::min(crops.size[1], first + plan.channel_block);
    const Part part = part_of(0, boxes.count(), unit % plan.parts, plan.parts);
    for (int64_t position = part.begin; position < part.end; ++position) {
      const int64_t row = boxes.row_at(position);
      const BoxTaps<T> taps = boxes.taps<T>(row);
      rows.take(taps.x);
      const T* const planes = static_cast<const T*>(image.data) + boxes.span(row).image * image.stride[0];
      for (int64_t c = first; c < last; ++c) {
        // Where planes are not turned, crops are dense planes too.
        T* out = static_cast<T*>(crops.data) + row * crops.stride[0] + c * crops.stride[1];
        const Pixels<const T> plane{planes + c * image.stride[1], image.stride[2], image.stride[3]};
        crop_rows<method, 1>(plane, 1, taps, extrapolation, out, crops.size[2], crops.size[3], stream, rows);
      }
    }
  }
  if (stream) stream_fence();
}

template <Method method, typename T>
void forward_by(const ConstView& image, const BoxTable& boxes, double extrapolation_value, const View& crops,
                const Plan& plan, Units* units) {
  const T extrapolation = static_cast<T>(extrapolation_value);
  if (plan.path == Path::kTurned) {
    forward_turned<method>(image, boxes, extrapolation, crops, plan, units);
  } else if (plan.path == Path::kDirect) {
    forward_direct<method>(image, boxes, extrapolation, crops, plan, units);
  } else if (streams<T>(crops, plan.channel_block) && streams<T>(crops, crops.size[1])) {
    forward_channels<method, true>(image, boxes, extrapolation, crops, plan, units);
  } else {
    forward_channels<method, false>(image, boxes, extrapolation, crops, plan, units);
  }
}

template <typename T>
void forward_of(const ConstView& image, const BoxTable& boxes, Method method, double extrapolation_value,
                const View& crops, const Plan& plan, Units* units) {
  if (method == Method::kNearest) {
    forward_by<Method::kNearest, T>(image, boxes, extrapolation_value, crops, plan, units);
  } else {
    forward_by<Method::kBilinear, T>(image, boxes, extrapolation_value, crops, plan, units);
  }
}

void forward(const ConstView& image, const BoxTable& boxes, Method method, double extrapolation_value,
             const View& crops, const Plan& plan, Units* units) {
  if (image.dtype == DType::kFloat64) {
    forward_of<double>(image, boxes, method, extrapolation_value, crops, plan, units);
  } else {
    forward_of<float>(image, boxes, method, extrapolation_value, crops, plan, units);
  }
}
