// One vector of channels, and the turn between planes and pixels.
//
// A sample reads four pixels, and all channels of a pixel share its weights: that is a vector operation wherever
// channels lie next to each other. In planes (NCHW) they do not, and a vector would be as many scattered loads as it
// has lanes. So a block of planes is turned into pixels of kBlock channels, worked on as if channels were innermost,
// and turned back. A turn is shared by all boxes and costs less than one sample a pixel.
//
// Vectors are the compiler's own extension: no intrinsics, one source for every instruction set.

template <typename T> struct Lanes {
  static constexpr int64_t kCount = ROI_ALIGN_VECTOR_BYTES / static_cast<int64_t>(sizeof(T));
  typedef T Vector __attribute__((vector_size(ROI_ALIGN_VECTOR_BYTES)));

  static Vector load(const T* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
  }
  static void store(T* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(vector)); }

  // Stores what no one will read soon past the caches: a plain store would first fetch the line that it overwrites, and
  // would push out the map that the next box reads. `to` is aligned to a vector and the lines around it are written
  // whole; the caller ends with stream_fence() before another thread reads them.
  static void stream(T* to, const Vector& vector) {
#if defined(__clang__)
    __builtin_nontemporal_store(vector, reinterpret_cast<Vector*>(to));
#elif defined(ROI_ALIGN_STREAM)
    typedef float Floats __attribute__((vector_size(ROI_ALIGN_VECTOR_BYTES)));
    ROI_ALIGN_STREAM(reinterpret_cast<float*>(to), reinterpret_cast<Floats>(vector));
#else
    store(to, vector);
#endif
  }
};

// A pixel of up to four channels as one short vector.
constexpr int64_t kCell = 4;
template <typename T> struct Cell {
  typedef T Vector __attribute__((vector_size(kCell * sizeof(T))));

  static void load(const T* from, Vector* to) { std::memcpy(to, from, sizeof(Vector)); }
  static void store(T* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(Vector)); }
};

// The channels of a pixel, `stride` apart, into the first lanes of a cell, and zeros into the others.
template <int channels, typename T>
ROI_ALIGN_INLINE void gather_cell(const T* from, int64_t stride, typename Cell<T>::Vector* to) {
  // As one expression: lanes that are set one by one would go through memory.
  *to = typename Cell<T>::Vector{from[0], channels > 1 ? from[stride] : T(0), channels > 2 ? from[2 * stride] : T(0),
                                 channels > 3 ? from[3 * stride] : T(0)};
}

// Pixels whose channels are innermost: an image, a crop, or a turned block of either. Rows count from first_row on.
template <typename T> struct Pixels {
  T* data;
  int64_t row_stride;
  int64_t pixel_stride;
  int64_t first_row = 0;

  T* at(int64_t y, int64_t x) const { return data + (y - first_row) * row_stride + x * pixel_stride; }
};

// One round of a transposition: of each square of `span` rows and lanes, cut into granules, every two rows that follow
// each other become the one of their even granules and the one of their odd granules, half a square apart. Granules of
// an element inside of 128 bits, and of 128 bits inside of a vector, are one instruction each on every instruction set.
template <typename T, int granule, int span, int... lane>
ROI_ALIGN_INLINE void deal(typename Lanes<T>::Vector* rows, std::integer_sequence<int, lane...>) {
  constexpr int kCount = static_cast<int>(Lanes<T>::kCount), kHalf = span / granule / 2;
  typename Lanes<T>::Vector next[kCount];
  for (int base = 0; base < kCount; base += span) {
    for (int i = 0; i < kHalf; ++i) {
      for (int j = 0; j < granule; ++j) {
        const auto &first = rows[base + 2 * i * granule + j], &second = rows[base + (2 * i + 1) * granule + j];
        // From lane `lane - lane % span` on: granule 2 * (n % kHalf) of the first row for n < kHalf, else of the
        // second.
        next[base + i * granule + j] =
            __builtin_shufflevector(first, second,
                                    (lane - lane % span + 2 * (lane % span / granule % kHalf) * granule +
                                     lane % granule + lane % span / granule / kHalf * kCount)...);
        next[base + (i + kHalf) * granule + j] =
            __builtin_shufflevector(first, second,
                                    (lane - lane % span + (2 * (lane % span / granule % kHalf) + 1) * granule +
                                     lane % granule + lane % span / granule / kHalf * kCount)...);
      }
    }
  }
  for (int i = 0; i < kCount; ++i) rows[i] = next[i];
}

template <typename T> ROI_ALIGN_INLINE void transpose(typename Lanes<T>::Vector* rows) {
  constexpr int kCount = static_cast<int>(Lanes<T>::kCount), kUnit = 16 / static_cast<int>(sizeof(T));
  const auto lanes = std::make_integer_sequence<int, kCount>{};
  for (int side = 1; side < kUnit; side *= 2) deal<T, 1, kUnit>(rows, lanes);
  if constexpr (kCount > kUnit) {
    for (int side = kUnit; side < kCount; side *= 2) deal<T, kUnit, kCount>(rows, lanes);
  }
}

// block[i][c] = planes[c][i] for `count` pixels and up to kBlock channels; a channel that is missing reads as 0. A
// pixel of the block has `block_stride` channels: a stride that is known is worth a quarter of a turn.
template <int64_t block_stride, typename T>
void turn_in(const T* planes, int64_t plane_stride, int64_t pixel_stride, int64_t channels, int64_t count, T* block) {
  constexpr int64_t kCount = Lanes<T>::kCount;
  // The last vector of pixels may start among those of the one before; two or three pixels are quicker one by one.
  constexpr int64_t kFew = 4;
  int64_t i = 0;
  while (pixel_stride == 1 && (i + kCount <= count || (i > 0 && i + kFew <= count))) {
    i = std::min(i, count - kCount);
    for (int64_t first = 0; first < kBlock; first += kCount) {
      typename Lanes<T>::Vector rows[kCount];
      const T* const from = planes + first * plane_stride + i;
      if (first + kCount <= channels) {  // unrolled, so that the rows stay in registers
#pragma GCC unroll 16
        for (int64_t c = 0; c < kCount; ++c) rows[c] = Lanes<T>::load(from + c * plane_stride);
      } else {
        for (int64_t c = 0; c < kCount; ++c) {
          rows[c] = first + c < channels ? Lanes<T>::load(from + c * plane_stride) : typename Lanes<T>::Vector{};
        }
      }
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int64_t k = 0; k < kCount; ++k) Lanes<T>::store(block + (i + k) * block_stride + first, rows[k]);
    }
    i += kCount;
  }
  if (plane_stride == 1 && channels == kBlock) {
    for (; i < count; ++i) std::memcpy(block + i * block_stride, planes + i * pixel_stride, kBlock * sizeof(T));
  }
  for (; i < count; ++i) {
    for (int64_t c = 0; c < kBlock; ++c) {
      block[i * block_stride + c] = c < channels ? planes[c * plane_stride + i * pixel_stride] : T(0);
    }
  }
}

// The same for rows of a plane that need not follow each other without a gap.
template <int64_t block_stride, typename T>
void turn_rows_in(const T* planes, int64_t plane_stride, int64_t row_stride, int64_t pixel_stride, int64_t channels,
                  int64_t rows, int64_t width, T* block) {
  if (row_stride == width * pixel_stride) {
    turn_in<block_stride>(planes, plane_stride, pixel_stride, channels, rows * width, block);
    return;
  }
  for (int64_t y = 0; y < rows; ++y) {
    turn_in<block_stride>(planes + y * row_stride, plane_stride, pixel_stride, channels, width,
                          block + y * width * block_stride);
  }
}

// Asks for a block of planes of a crop that will be turned soon, in the order in which they lie: a turn takes sixteen
// of them at a time, and what is not yet in a cache then arrives more slowly than as one run. It is asked for while the
// box before is worked on. (A prefetch reads nothing, so it may go past the end of a view.)
template <typename T> void expect(const T* planes, int64_t values) {
  constexpr int64_t kMostBytes = 64 << 10;
  const int64_t bytes = std::min<int64_t>(values * static_cast<int64_t>(sizeof(T)), kMostBytes);
  const char* const run = reinterpret_cast<const char*>(planes);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(run + i, 0, 2);
}

// The same for a block of channels where they lie innermost.
template <typename T> void expect_pieces(const T* pixels, int64_t pixel_stride, int64_t count, int64_t channels) {
  for (int64_t i = 0; i < count; ++i) {
    const char* const piece = reinterpret_cast<const char*>(pixels + i * pixel_stride);
    for (int64_t at = 0; at < channels * static_cast<int64_t>(sizeof(T)); at += 64)
      __builtin_prefetch(piece + at, 0, 2);
  }
}

// planes[c][i] = block[i][c] for `count` pixels; a pixel of the block has `block_stride` channels.
template <bool stream, typename T>
ROI_ALIGN_INLINE void turn_out_by(const T* block, int64_t block_stride, int64_t count, T* planes, int64_t plane_stride,
                                  int64_t channels) {
  constexpr int64_t kCount = Lanes<T>::kCount;
  int64_t i = 0;
  for (; i + kCount <= count; i += kCount) {
    for (int64_t first = 0; first < channels; first += kCount) {
      typename Lanes<T>::Vector rows[kCount];
#pragma GCC unroll 16
      for (int64_t k = 0; k < kCount; ++k) rows[k] = Lanes<T>::load(block + (i + k) * block_stride + first);
      transpose<T>(rows);
      T* const to = planes + first * plane_stride + i;
      const auto write = [&](int64_t c) {
        stream ? Lanes<T>::stream(to + c * plane_stride, rows[c]) : Lanes<T>::store(to + c * plane_stride, rows[c]);
      };
      if (first + kCount <= channels) {  // unrolled, so that the rows stay in registers
#pragma GCC unroll 16
        for (int64_t c = 0; c < kCount; ++c) write(c);
      } else {
        for (int64_t c = 0; first + c < channels; ++c) write(c);
      }
    }
  }
  for (; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i] = block[i * block_stride + c];
  }
}

// One block of planes. Not inlined: a turn wants all registers for itself.
template <typename T>
__attribute__((noinline)) void turn_out(const T* block, int64_t count, T* planes, int64_t plane_stride,
                                        int64_t channels) {
  turn_out_by<false>(block, kBlock, count, planes, plane_stride, channels);
}

// A group of several blocks whose pixels are `block_stride` channels apart, past the caches if it is a part of a large
// result and its planes consist of whole lines.
template <typename T>
void turn_group_out(const T* block, int64_t block_stride, int64_t count, T* planes, int64_t plane_stride,
                    int64_t channels, bool large) {
  const auto bytes = [](int64_t elements) { return static_cast<uintptr_t>(elements) * sizeof(T); };
  const bool lines = Lanes<T>::kCount * sizeof(T) == 64;  // or a line would be open while others are written
  if (large && lines && (reinterpret_cast<uintptr_t>(planes) | bytes(plane_stride) | bytes(count)) % 64 == 0) {
    turn_out_by<true>(block, block_stride, count, planes, plane_stride, channels);
  } else {
    turn_out_by<false>(block, block_stride, count, planes, plane_stride, channels);
  }
}

// Copies a run of whole lines past the caches, as Lanes::stream does.
template <typename T> void stream_out(const T* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; i += Lanes<T>::kCount) Lanes<T>::stream(to + i, Lanes<T>::load(from + i));
}

inline void stream_fence() {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

// Rows of a crop that fit in a tile that stays in the first-level cache while it is filled and turned.
template <typename T> int64_t tile_rows(int64_t height, int64_t width) {
  constexpr int64_t kTileBytes = 16 * 1024;
  const int64_t row_bytes = width * kBlock * static_cast<int64_t>(sizeof(T));
  return std::max<int64_t>(1, std::min(height, kTileBytes / row_bytes));
}

// A turned block of planes of an image; made again only when another one is asked for.
template <typename T> struct TurnedBlock {
  std::unique_ptr<T[]> data;
  int64_t capacity = 0;
  const void* view_data = nullptr;
  int64_t image = -1, first = -1;

  const T* of(const ConstView& view, int64_t n, int64_t first_channel) {
    if (view.data == view_data && n == image && first_channel == first) return data.get();
    const int64_t height = view.size[2], width = view.size[3];
    if (height * width * kBlock > capacity) {
      capacity = height * width * kBlock;
      data.reset(new T[static_cast<size_t>(capacity)]);
    }
    const T* planes = static_cast<const T*>(view.data) + n * view.stride[0] + first_channel * view.stride[1];
    turn_rows_in<kBlock>(planes, view.stride[1], view.stride[2], view.stride[3],
                         std::min(kBlock, view.size[1] - first_channel), height, width, data.get());
    view_data = view.data;
    image = n;
    first = first_channel;
    return data.get();
  }
};
