// roi_align's mean, forward, with channels innermost.
//
// Threads own their channels and exchange nothing. A thread keeps the last columns that it weighed, because
// neighbouring bins share them.

#include "cuda/vector.h"
#include "roi_align/cuda/forward.h"

namespace roi_align::cuda {
namespace {

// The weighed rows of one bin of y at one column, for the channels of a thread; 0 if the bin has no taps.
template <typename T, int count>
__device__ __forceinline__ Vector<Accumulate<T>, count> weigh_column(const T* column, int64_t row_stride,
                                                                     const BinTap<Accumulate<T>>* begin,
                                                                     const BinTap<Accumulate<T>>* end) {
  using Acc = Accumulate<T>;
  Vector<Acc, count> sums = {};
#pragma unroll 4
  for (const BinTap<Acc>* tap = begin; tap < end; ++tap) {
    const auto pixels = load<T, count>(column + tap->at * row_stride);
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const Acc product = tap->weight * widen(pixels.lane[c]);
      sums.lane[c] = tap == begin ? product : sums.lane[c] + product;
    }
  }
  return sums;
}

// The mapping of a block's threads to channels and bins of y: `lanes` neighbouring threads share a row of bins.
struct Lanes {
  int lanes;
  int threads;
};

template <typename T, int count, TapPlace place>
__global__ void __launch_bounds__(kThreads, 2)
    pixels_kernel(ConstMaps maps, Pools pools, View crops, BoxParts parts, TapMemory memory, Lanes lanes) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  BoxTables& tables = *reinterpret_cast<BoxTables*>(shared_memory);
  const AxisMemory<Acc> axes = {reinterpret_cast<BinTap<Acc>*>(memory.at<place>(shared_memory)), nullptr,
                                memory.capacity};
  const int lane = static_cast<int>(threadIdx.x) % lanes.lanes, slot = static_cast<int>(threadIdx.x) / lanes.lanes;
  const int slots = lanes.threads / lanes.lanes;
  for (int64_t unit = blockIdx.x; unit < parts.units; unit += gridDim.x) {
    const BoxPart part = parts.at(unit);
    if (!begin_box<T>(tables, maps, pools, crops, part)) continue;
    const ConstView& map = maps.map[tables.box.level];
    for (int64_t i = 0; i < pools.rule.height; i += tables.y.count) {
      for (int64_t j = 0; j < pools.rule.width; j += tables.x.count) {
        make_chunks(tables, pools, map, i, j, axes);
        if (lane * count >= part.channels) continue;
        const int64_t channel = part.first + int64_t{lane} * count;
        const T* const pixels =
            static_cast<const T*>(map.data) + tables.box.image * map.stride[0] + channel * map.stride[1];
        T* const crop = static_cast<T*>(crops.data) + part.row * crops.stride[0] + channel * crops.stride[1];
        for (int row = slot; row < tables.y.count; row += slots) {
          const BinTap<Acc>*const begin = axes.y() + tables.y.begin[row], *const end = axes.y() + tables.y.end[row];
          // The last two weighed columns; neighbouring bins seldom share more.
          Vector<Acc, count> newer = {}, older = {};
          int32_t newer_at = -1, older_at = -1;
          for (int bin = 0; bin < tables.x.count; ++bin) {
            Vector<Acc, count> sums = {};
            const int32_t first = tables.x.begin[bin], last = tables.x.end[bin];
            for (int32_t k = first; k < last; ++k) {
              const BinTap<Acc> tap = axes.x()[k];
              Vector<Acc, count> column = tap.at == newer_at ? newer : older;
              if (tap.at != newer_at && tap.at != older_at) {
                column = weigh_column<T, count>(pixels + tap.at * map.stride[3], map.stride[2], begin, end);
                older = newer;
                older_at = newer_at;
                newer = column;
                newer_at = tap.at;
              }
#pragma unroll
              for (int c = 0; c < count; ++c) {
                const Acc product = tap.weight * column.lane[c];
                sums.lane[c] = k == first ? product : sums.lane[c] + product;
              }
            }
            Vector<T, count> result;
#pragma unroll
            for (int c = 0; c < count; ++c) result.lane[c] = narrow<T>(sums.lane[c]);
            store(crop + (i + row) * crops.stride[2] + (j + bin) * crops.stride[3], result);
          }
        }
      }
    }
  }
}

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Up to 32 neighbouring threads for channels, then threads for all rows of bins, in whole warps.
Lanes plan_lanes(int64_t vectors, int64_t bins) {
  int lanes = 1;
  while (lanes < kWarp && lanes < vectors) lanes *= 2;
  const int64_t threads = divide_up(lanes * bins, kWarp) * kWarp;
  return {lanes, static_cast<int>(least(threads, kThreads))};
}

template <typename Acc> TapMemory plan_pixels(const ConstMaps& maps, const Pools& pools) {
  return plan_taps(maps, pools, sizeof(BinTap<Acc>), [](int64_t) { return int64_t{0}; });
}

template <typename T, int count, TapPlace place>
void launch_pixels(const ConstMaps& maps, const Pools& pools, const View& crops, const TapMemory& memory,
                   cudaStream_t stream) {
  const Lanes lanes = plan_lanes(divide_up(crops.size[1], count), pools.rule.height);
  const BoxParts parts = parts_of(crops.size[0], crops.size[1], int64_t{lanes.lanes} * count);
  launch(&pixels_kernel<T, count, place>, memory.blocks_for(parts.units), lanes.threads, memory.shared_bytes(), stream,
         maps, pools, crops, parts, memory, lanes);
}

}  // namespace

int64_t forward_pixels_scratch(const ConstMaps& maps, const Pools& pools) {
  return maps.map[0].dtype == DType::kFloat64 ? plan_pixels<double>(maps, pools).scratch_bytes()
                                              : plan_pixels<float>(maps, pools).scratch_bytes();
}

void forward_pixels(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream) {
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int count = 16 / sizeof(T);
    TapMemory memory = plan_pixels<Accumulate<T>>(maps, pools);
    memory.scratch = static_cast<unsigned char*>(scratch);
    bool vectors = takes_vectors(crops, count, sizeof(T));
    for (int64_t level = 0; level < maps.levels; ++level) {
      vectors = vectors && takes_vectors(maps.map[level], count, sizeof(T));
    }
    // Taps are so seldom in scratch memory that vectors are not worth another kernel.
    if (memory.blocks != 0) {
      launch_pixels<T, 1, TapPlace::kScratch>(maps, pools, crops, memory, stream);
    } else if (vectors) {
      launch_pixels<T, count, TapPlace::kShared>(maps, pools, crops, memory, stream);
    } else {
      launch_pixels<T, 1, TapPlace::kShared>(maps, pools, crops, memory, stream);
    }
  });
}

}  // namespace roi_align::cuda
