// Vectors of channels, and the turn (a transposition) between planes and pixels.
//
// A sample reads four pixels, and all channels of a pixel share its weights: a vector operation if channels are
// adjacent in memory. In planes (NCHW) they are not, and a vector would take one scattered load per lane. So a block of
// planes is turned into pixels of kBlock channels, processed like an image with channels innermost, and turned back.
// All boxes share a turn, which costs less than one sample per pixel.
//
// Vectors are the compiler's extension: no intrinsics, one source for every instruction set.

template <typename T> struct Lanes {
  static constexpr int64_t kCount = ROI_ALIGN_VECTOR_BYTES / static_cast<int64_t>(sizeof(T));
  typedef T Vector __attribute__((vector_size(ROI_ALIGN_VECTOR_BYTES)));

  static Vector load(const T* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
  }
  static void store(T* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(vector)); }

  // A store past the caches, for data that is not read again soon: a plain store would first fetch the line that it
  // overwrites, and would evict the map that the next box reads. `to` must be aligned to a vector, its lines must be
  // written whole, and stream_fence() must follow before another thread reads them.
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

// Loads the channels of a pixel, `stride` apart, into the first lanes of a cell, and zeros into the others.
template <int channels, typename T>
ROI_ALIGN_INLINE void gather_cell(const T* from, int64_t stride, typename Cell<T>::Vector* to) {
  // One expression: setting lanes one by one would go through memory.
  *to = typename Cell<T>::Vector{from[0], channels > 1 ? from[stride] : T(0), channels > 2 ? from[2 * stride] : T(0),
                                 channels > 3 ? from[3 * stride] : T(0)};
}

// Pixels with channels innermost: an image, a crop, or a turned block of either. `data` is the start of first_row.
template <typename T> struct Pixels {
  T* data;
  int64_t row_stride;
  int64_t pixel_stride;
  int64_t first_row = 0;

  T* at(int64_t y, int64_t x) const { return data + (y - first_row) * row_stride + x * pixel_stride; }
};

// One round of a transposition. In each square of `span` rows and lanes, divided into granules, two successive rows
// become the row of their even granules and the row of their odd granules, half a square apart. Granules of one element
// within 128 bits, and of 128 bits within a vector, take one instruction each on every instruction set.
template <typename T, int granule, int span, int... lane>
ROI_ALIGN_INLINE void deal(typename Lanes<T>::Vector* rows, std::integer_sequence<int, lane...>) {
  constexpr int kCount = static_cast<int>(Lanes<T>::kCount), kHalf = span / granule / 2;
  typename Lanes<T>::Vector next[kCount];
  for (int base = 0; base < kCount; base += span) {
    for (int i = 0; i < kHalf; ++i) {
      for (int j = 0; j < granule; ++j) {
        const auto &first = rows[base + 2 * i * granule + j], &second = rows[base + (2 * i + 1) * granule + j];
        // Within a square, granule n is granule 2 * (n % kHalf) of the first row if n < kHalf, else of the second.
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

// block[i][c] = planes[c][i] for `count` pixels and up to kBlock channels; missing channels become 0. A pixel of the
// block has `block_stride` channels: a constant, because that makes a turn a quarter faster.
template <int64_t block_stride, typename T>
void turn_in(const T* planes, int64_t plane_stride, int64_t pixel_stride, int64_t channels, int64_t count, T* block) {
  constexpr int64_t kCount = Lanes<T>::kCount;
  // The last vector of pixels may overlap the one before; two or three remaining pixels are faster one by one.
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

// The same for rows of a plane, which may have gaps between them.
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

// Prefetches a block of planes of a crop that will be turned next, in the order of their addresses: a turn reads
// sixteen planes at a time, and without a prefetch they arrive more slowly than as one run. The prefetch runs while the
// box before is processed. (A prefetch faults on no address, so it may go past the end of a view.)
template <typename T> void expect(const T* planes, int64_t values) {
  constexpr int64_t kMostBytes = 64 << 10;
  const int64_t bytes = std::min<int64_t>(values * static_cast<int64_t>(sizeof(T)), kMostBytes);
  const char* const run = reinterpret_cast<const char*>(planes);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(run + i, 0, 2);
}

// The same for a block of channels that are innermost.
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

// Turns one block into planes. Not inlined: a turn needs all registers.
template <typename T>
__attribute__((noinline)) void turn_out(const T* block, int64_t count, T* planes, int64_t plane_stride,
                                        int64_t channels) {
  turn_out_by<false>(block, kBlock, count, planes, plane_stride, channels);
}

// Turns several blocks, whose pixels are `block_stride` channels apart, into planes: past the caches if they are part
// of a large result and the planes consist of whole lines.
template <typename T>
void turn_group_out(const T* block, int64_t block_stride, int64_t count, T* planes, int64_t plane_stride,
                    int64_t channels, bool large) {
  const auto bytes = [](int64_t elements) { return static_cast<uintptr_t>(elements) * sizeof(T); };
  const bool lines = Lanes<T>::kCount * sizeof(T) == 64;  // else a line would be incomplete while others are written
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

// The rows of a crop in a tile that stays in the first-level cache while it is filled and turned.
template <typename T> int64_t tile_rows(int64_t height, int64_t width) {
  constexpr int64_t kTileBytes = 16 * 1024;
  const int64_t row_bytes = width * kBlock * static_cast<int64_t>(sizeof(T));
  return std::max<int64_t>(1, std::min(height, kTileBytes / row_bytes));
}

// Whether two views read the same elements. Levels of a pyramid may be views of one memory.
inline bool same_view(const ConstView& one, const ConstView& other) {
  return one.data == other.data && std::equal(one.size, one.size + 4, other.size) &&
         std::equal(one.stride, one.stride + 4, other.stride);
}

// A cache of one turned block of planes of an image: of() turns planes only if the block is another one.
template <typename T> struct TurnedBlock {
  std::unique_ptr<T[]> data;
  int64_t capacity = 0;
  ConstView turned{};
  int64_t image = -1, first = -1;

  const T* of(const ConstView& view, int64_t n, int64_t first_channel) {
    if (n == image && first_channel == first && same_view(view, turned)) return data.get();
    const int64_t height = view.size[2], width = view.size[3];
    if (height * width * kBlock > capacity) {
      capacity = height * width * kBlock;
      data.reset(new T[static_cast<size_t>(capacity)]);
    }
    const T* planes = static_cast<const T*>(view.data) + n * view.stride[0] + first_channel * view.stride[1];
    turn_rows_in<kBlock>(planes, view.stride[1], view.stride[2], view.stride[3],
                         std::min(kBlock, view.size[1] - first_channel), height, width, data.get());
    turned = view;
    image = n;
    first = first_channel;
    return data.get();
  }
};
