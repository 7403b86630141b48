// The box gradient of roi_align's mean on CUDA.
//
// An edge moves samples, and a moving sample changes the weights of the pixels around it. So each value of a crop has
// two sums over its bins' pixels, with the slopes of the weights in place of the weights of one axis. A block sums over
// one box and some of its channels, in doubles and in one order; a second kernel adds up the parts.

#include "roi_align/cuda/bins.h"
#include "roi_align/cuda/edges.h"

namespace roi_align::cuda {
namespace {

// The sum over the taps of one axis at a pixel of the other: a line of pixels, `stride` apart.
template <typename T>
__device__ __forceinline__ Accumulate<T> weigh(const T* line, int64_t stride, const BinTap<Accumulate<T>>* begin,
                                               const BinTap<Accumulate<T>>* end) {
  Accumulate<T> sum = 0;
#pragma unroll 2  // more would need too many registers
  for (const BinTap<Accumulate<T>>* tap = begin; tap < end; ++tap) sum += tap->weight * widen(line[tap->at * stride]);
  return sum;
}

// Adds the contributions of a bin's slopes on one axis.
template <typename T>
__device__ __forceinline__ void add_axis(const BinSlope* begin, const BinSlope* end, const T* plane, int64_t stride,
                                         const BinTap<Accumulate<T>>* taps, const BinTap<Accumulate<T>>* taps_end,
                                         int64_t other_stride, double gradient, double& first, double& second) {
  for (const BinSlope* slope = begin; slope < end; ++slope) {
    const double here = gradient * static_cast<double>(weigh(plane + slope->at * stride, other_stride, taps, taps_end));
    first += slope->first * here;
    second += slope->second * here;
  }
}

template <typename T, TapPlace place>
__global__ void __launch_bounds__(kThreads, 2)
    slopes_kernel(ConstView grad, ConstMaps maps, Pools pools, BoxParts parts, TapMemory memory, Edges* partial) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  BoxTables& tables = *reinterpret_cast<BoxTables*>(shared_memory);
  BinTap<Acc>* const taps = reinterpret_cast<BinTap<Acc>*>(memory.at<place>(shared_memory));
  const AxisMemory<Acc, true> axes = {taps, reinterpret_cast<BinSlope*>(taps + 2 * int64_t{memory.capacity}),
                                      memory.capacity};
  const BinSlope* const y_slopes = axes.slopes;
  const BinSlope* const x_slopes = axes.slopes + memory.capacity;
  for (int64_t unit = blockIdx.x; unit < parts.units; unit += gridDim.x) {
    const BoxPart part = parts.at(unit);
    if (threadIdx.x == 0) tables.box = box_of(pools, maps.map[0].size[0], part.row);
    __syncthreads();
    Edges edges = {{0, 0, 0, 0}};
    const bool has_map = tables.box.image >= 0 && tables.box.level >= 0;
    for (int64_t i = 0; has_map && i < pools.rule.height; i += tables.y.count) {
      for (int64_t j = 0; j < pools.rule.width; j += tables.x.count) {
        const ConstView& map = maps.map[tables.box.level];
        make_chunks(tables, pools, map, i, j, axes);
        const T* const pixels =
            static_cast<const T*>(map.data) + tables.box.image * map.stride[0] + part.first * map.stride[1];
        const T* const crop = static_cast<const T*>(grad.data) + part.row * grad.stride[0] +
                              part.first * grad.stride[1] + i * grad.stride[2] + j * grad.stride[3];
        const int64_t items = part.channels * tables.y.count * tables.x.count;
        for (int64_t item = threadIdx.x; item < items; item += blockDim.x) {
          const CropPlace at = place_of(item, part.channels, tables.y.count, tables.x.count, map.stride[1] == 1);
          const double gradient = static_cast<double>(
              widen(crop[at.channel * grad.stride[1] + at.y * grad.stride[2] + at.x * grad.stride[3]]));
          const T* const plane = pixels + at.channel * map.stride[1];
          const int32_t y = tables.y.begin[at.y], x = tables.x.begin[at.x];
          add_axis(y_slopes + y, y_slopes + tables.y.slope_end[at.y], plane, map.stride[2], axes.x() + x,
                   axes.x() + tables.x.end[at.x], map.stride[3], gradient, edges.value[1], edges.value[3]);
          add_axis(x_slopes + x, x_slopes + tables.x.slope_end[at.x], plane, map.stride[3], axes.y() + y,
                   axes.y() + tables.y.end[at.y], map.stride[2], gradient, edges.value[0], edges.value[2]);
        }
      }
    }
    const double sum = sum_of_block(edges, tables.of_warp);  // its barriers come after the last access to the box
    if (threadIdx.x < 4) partial[unit].value[threadIdx.x] = sum;
  }
}

TapMemory plan_slopes(const ConstMaps& maps, const Pools& pools) {
  const bool wide = maps.map[0].dtype == DType::kFloat64;
  const int64_t tap = wide ? sizeof(BinTap<double>) : sizeof(BinTap<float>);
  return plan_taps(maps, pools, tap + static_cast<int64_t>(sizeof(BinSlope)), [](int64_t) { return int64_t{0}; });
}

}  // namespace

int64_t roi_grad_boxes_scratch(const ConstMaps& maps, const Pools& pools) {
  return sums_bytes(plan_sums(pools.rois.count, maps.map[0].size[1])) + plan_slopes(maps, pools).scratch_bytes();
}

void roi_grad_boxes(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, void* scratch,
                    void* grad_boxes, cudaStream_t stream) {
  const BoxParts parts = plan_sums(pools.rois.count, maps.map[0].size[1]);
  Edges* const partial = static_cast<Edges*>(scratch);
  TapMemory memory = plan_slopes(maps, pools);
  memory.scratch = reinterpret_cast<unsigned char*>(partial + parts.units);
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    with_place(memory, [&](auto place) {
      launch(&slopes_kernel<T, decltype(place)::value>, memory.blocks_for(parts.units), kThreads, memory.shared_bytes(),
             stream, grad_crops, maps, pools, parts, memory, partial);
    });
  });
  add_parts(partial, parts, pools.rois, grad_boxes, stream);
}

}  // namespace roi_align::cuda
