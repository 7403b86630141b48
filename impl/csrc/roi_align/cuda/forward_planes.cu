// roi_align's mean, forward, in planes.
//
// A block takes a box and some of its channels. Neighbouring threads weigh the rows of neighbouring columns, four
// channels at a time, into shared memory; then neighbouring threads weigh and write neighbouring bins from there.

#include "roi_align/cuda/forward.h"

namespace roi_align::cuda {
namespace {

// Channels that a thread weighs together: it reads a tap once for as many loads, which are under way at once.
constexpr int kTogether = 4;
// Channels of a block in planes, and the values in its shared memory before it writes bins.
constexpr int64_t kPlanes = 64;
constexpr int64_t kWeighedBytes = 24 * 1024;

// The columns at which rows are weighed for the chunk of x: every pixel from the first to the last if most are read, or
// one column for each slot of a tap.
struct Columns {
  bool dense;
  int32_t lowest;
  int32_t count;

  __device__ __forceinline__ static Columns of(const BinChunk& x) {
    const int64_t pixels = int64_t{x.highest} - x.lowest + 1;
    const bool dense = pixels <= x.slots;
    return {dense, x.lowest, x.slots == 0 ? 0 : dense ? static_cast<int32_t>(pixels) : x.slots};
  }
  // The pixel of a column, -1 if its slot has no tap.
  template <typename Acc> __device__ __forceinline__ int32_t pixel(const BinTap<Acc>* taps, int32_t column) const {
    return dense ? lowest + column : taps[column].at;
  }
  __device__ __forceinline__ int32_t column(int32_t slot, int32_t at) const { return dense ? at - lowest : slot; }
};

// Some channels of one box's crop, for one chunk of bins: the addresses of their pixels and results.
template <typename T> struct Planes {
  const T* pixels;  // of the first channel
  T* crop;          // the crop's bin (i, j), the first of the chunk
  int32_t channels;
};

// Weighs rows [row, row + rows) of the chunk of y at every column, for the channels of `planes`.
template <typename T>
__device__ __forceinline__ void weigh_rows(const Planes<T>& planes, const ConstView& map, const BinChunk& y,
                                           const BinTap<Accumulate<T>>* y_taps, const BinTap<Accumulate<T>>* x_taps,
                                           const Columns& columns, int32_t row, int32_t rows, Accumulate<T>* weighed) {
  using Acc = Accumulate<T>;
  const int64_t channel_stride = map.stride[1];
  const int32_t items = (planes.channels + kTogether - 1) / kTogether * rows * columns.count;
  const Digits step = Digits::of(blockDim.x, columns.count, rows);
  Digits at = Digits::of(threadIdx.x, columns.count, rows);
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < items;
       item += static_cast<int32_t>(blockDim.x), at.add(step, columns.count, rows)) {
    const int32_t pixel = columns.pixel(x_taps, at.fast);
    if (pixel < 0) continue;
    const int32_t first = at.slow * kTogether;
    const int32_t present = planes.channels - first;
    const T* const column = planes.pixels + first * channel_stride + pixel * map.stride[3];
    const int32_t bin = row + at.middle, begin = y.begin[bin], end = y.end[bin];
    Acc sums[kTogether] = {};
    for (int32_t k = begin; k < end; ++k) {
      const BinTap<Acc> tap = y_taps[k];
      const T* const line = column + tap.at * map.stride[2];
#pragma unroll
      for (int c = 0; c < kTogether; ++c) {
        if (c >= present) continue;
        const Acc product = tap.weight * widen(line[c * channel_stride]);
        sums[c] = k == begin ? product : sums[c] + product;
      }
    }
    Acc* const to = weighed + (first * rows + at.middle) * columns.count + at.fast;
#pragma unroll
    for (int c = 0; c < kTogether; ++c) {
      if (c < present) to[c * rows * columns.count] = sums[c];
    }
  }
}

// Weighs the columns of weigh_rows' results, and writes the bins.
template <typename T>
__device__ __forceinline__ void weigh_columns(const Planes<T>& planes, const View& crops, const BinChunk& x,
                                              const BinTap<Accumulate<T>>* x_taps, const Columns& columns, int32_t rows,
                                              const Accumulate<T>* weighed) {
  using Acc = Accumulate<T>;
  const int32_t items = planes.channels * rows * x.count;
  const Digits step = Digits::of(blockDim.x, x.count, rows);
  Digits at = Digits::of(threadIdx.x, x.count, rows);
  for (int32_t item = static_cast<int32_t>(threadIdx.x); item < items;
       item += static_cast<int32_t>(blockDim.x), at.add(step, x.count, rows)) {
    const Acc* const line = weighed + (at.slow * rows + at.middle) * columns.count;
    const int32_t begin = x.begin[at.fast], end = x.end[at.fast];
    Acc sum = 0;
    for (int32_t k = begin; k < end; ++k) {
      const BinTap<Acc> tap = x_taps[k];
      const Acc product = tap.weight * line[columns.column(k, tap.at)];
      sum = k == begin ? product : sum + product;
    }
    planes.crop[at.slow * crops.stride[1] + at.middle * crops.stride[2] + at.fast * crops.stride[3]] = narrow<T>(sum);
  }
}

template <typename T, TapPlace place>
__global__ void __launch_bounds__(kThreads, 2)
    planes_kernel(ConstMaps maps, Pools pools, View crops, BoxParts parts, TapMemory memory) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  BoxTables& tables = *reinterpret_cast<BoxTables*>(shared_memory);
  const AxisMemory<Acc> axes = {reinterpret_cast<BinTap<Acc>*>(memory.at<place>(shared_memory)), nullptr,
                                memory.capacity};
  Acc* const weighed = reinterpret_cast<Acc*>(axes.taps + 2 * int64_t{memory.capacity});
  const int32_t room = static_cast<int32_t>(memory.rest / static_cast<int64_t>(sizeof(Acc)));
  for (int64_t unit = blockIdx.x; unit < parts.units; unit += gridDim.x) {
    const BoxPart part = parts.at(unit);
    if (!begin_box<T>(tables, maps, pools, crops, part)) continue;
    const ConstView& map = maps.map[tables.box.level];
    for (int64_t i = 0; i < pools.rule.height; i += tables.y.count) {
      for (int64_t j = 0; j < pools.rule.width; j += tables.x.count) {
        make_chunks(tables, pools, map, i, j, axes);
        const T* const pixels =
            static_cast<const T*>(map.data) + tables.box.image * map.stride[0] + part.first * map.stride[1];
        T* const crop = static_cast<T*>(crops.data) + part.row * crops.stride[0] + part.first * crops.stride[1];
        const Columns columns = Columns::of(tables.x);
        // As many rows as fit the memory, then as many channels, in whole groups.
        const int32_t lines = columns.count == 0 ? room : room / columns.count;
        const int32_t most_rows = lines < tables.y.count ? lines : tables.y.count;
        const int32_t fitting = lines / most_rows, groups = fitting / kTogether * kTogether;
        const int32_t together = groups > 0 ? groups : fitting;
        for (int32_t row = 0; row < tables.y.count; row += most_rows) {
          const int32_t left = tables.y.count - row, rows = left < most_rows ? left : most_rows;
          for (int64_t c = 0; c < part.channels; c += together) {
            const int64_t others = part.channels - c;
            const Planes<T> planes = {pixels + c * map.stride[1],
                                      crop + c * crops.stride[1] + (i + row) * crops.stride[2] + j * crops.stride[3],
                                      static_cast<int32_t>(others < together ? others : together)};
            __syncthreads();  // the previous bins have been written
            weigh_rows(planes, map, tables.y, axes.y(), axes.x(), columns, row, rows, weighed);
            __syncthreads();
            weigh_columns(planes, crops, tables.x, axes.x(), columns, rows, weighed);
          }
        }
      }
    }
  }
}

template <typename Acc> TapMemory plan_planes(const ConstMaps& maps, const Pools& pools) {
  return plan_taps(maps, pools, sizeof(BinTap<Acc>), [](int64_t slots) {
    const int64_t one_line = slots * static_cast<int64_t>(sizeof(Acc));
    return one_line > kWeighedBytes ? one_line : kWeighedBytes;
  });
}

}  // namespace

int64_t forward_planes_scratch(const ConstMaps& maps, const Pools& pools) {
  return maps.map[0].dtype == DType::kFloat64 ? plan_planes<double>(maps, pools).scratch_bytes()
                                              : plan_planes<float>(maps, pools).scratch_bytes();
}

void forward_planes(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream) {
  const BoxParts parts = parts_of(crops.size[0], crops.size[1], kPlanes);
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    TapMemory memory = plan_planes<Accumulate<T>>(maps, pools);
    memory.scratch = static_cast<unsigned char*>(scratch);
    with_place(memory, [&](auto place) {
      launch(&planes_kernel<T, decltype(place)::value>, memory.blocks_for(parts.units), kThreads, memory.shared_bytes(),
             stream, maps, pools, crops, parts, memory);
    });
  });
}

}  // namespace roi_align::cuda
