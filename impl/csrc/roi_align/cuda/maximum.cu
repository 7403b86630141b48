// roi_align's maximum on CUDA: forward and box gradient. A thread takes one value of a crop after another.
//
// Each gradient searches for the largest sample again: an index for every value would be as large as the crops.

#include <cmath>

#include "roi_align/cuda/edges.h"
#include "roi_align/cuda/largest.h"

namespace roi_align::cuda {
namespace {

// Channels of a block.
constexpr int64_t kChannels = 64;

// A block's box, read by one thread. Starts with a barrier, because other threads may still read the previous box.
__device__ __forceinline__ void read_box(RoiBox& box, const ConstMaps& maps, const Pools& pools, int64_t row) {
  __syncthreads();
  if (threadIdx.x == 0) box = box_of(pools, maps.map[0].size[0], row);
  __syncthreads();
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    largest_kernel(ConstMaps maps, ConstMaps values, Pools pools, View crops, BoxParts parts) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  RoiBox& box = *reinterpret_cast<RoiBox*>(shared_memory);
  const int32_t height = static_cast<int32_t>(pools.rule.height), width = static_cast<int32_t>(pools.rule.width);
  for (int64_t unit = blockIdx.x; unit < parts.units; unit += gridDim.x) {
    const BoxPart part = parts.at(unit);
    read_box(box, maps, pools, part.row);
    for (int64_t item = threadIdx.x; item < part.channels * height * width; item += blockDim.x) {
      const CropPlace at = place_of(item, part.channels, height, width, crops.stride[1] == 1);
      Acc value = box.image < 0 ? static_cast<Acc>(NAN) : Acc(0);
      if (box.image >= 0 && box.level >= 0) {
        const ConstView& map = maps.map[box.level];
        const int64_t channel = part.first + at.channel;
        on_samples(box, is_wide(pools), at.y, at.x, map, [&](const auto& y, const auto& x) {
          const Largest<Acc> best = largest_of<Acc>(y, x, plane_of<T>(map, box.image, channel));
          if (!best.inside) return;
          value = sample_at<Acc>(plane_of<T>(values.map[box.level], box.image, channel), y.template tap<Acc>(best.y),
                                 x.template tap<Acc>(best.x));
        });
      }
      static_cast<T*>(crops.data)[part.row * crops.stride[0] + (part.first + at.channel) * crops.stride[1] +
                                  at.y * crops.stride[2] + at.x * crops.stride[3]] = narrow<T>(value);
    }
  }
}

// The slope: a movement by one pixel takes a sample from the value at the lower pixel to that at the upper one. The
// position, not the weight, decides whether it lies between two pixels: a weight may be rounded to 0 or 1.
template <typename T, typename Box>
__device__ __forceinline__ void add_slopes_at(const BinSamples<Box>& y, const BinSamples<Box>& x, const Plane<T>& plane,
                                              const Pools& pools, Box scale, const CropPlace& at, double gradient,
                                              Edges& edges) {
  using Acc = Accumulate<T>;
  const Largest<Acc> best = largest_of<Acc>(y, x, plane);
  if (!best.inside) return;
  const auto only = [](int64_t pixel) { return Tap<Acc>{pixel, pixel, Acc(0)}; };
  const Tap<Acc> ty = y.template tap<Acc>(best.y), tx = x.template tap<Acc>(best.x);
  const Tap<Box> by = y.template tap<Box>(best.y), bx = x.template tap<Box>(best.x);
  if (by.low != by.high) {
    const Acc along = sample_at<Acc>(plane, only(by.high), tx) - sample_at<Acc>(plane, only(by.low), tx);
    const EdgeSlopes moves = bin_slopes(y.axis, scale, at.y, best.y, pools.rule.height);
    edges.value[1] += moves.a1 * (gradient * static_cast<double>(along));
    edges.value[3] += moves.a2 * (gradient * static_cast<double>(along));
  }
  if (bx.low != bx.high) {
    const Acc along = sample_at<Acc>(plane, ty, only(bx.high)) - sample_at<Acc>(plane, ty, only(bx.low));
    const EdgeSlopes moves = bin_slopes(x.axis, scale, at.x, best.x, pools.rule.width);
    edges.value[0] += moves.a1 * (gradient * static_cast<double>(along));
    edges.value[2] += moves.a2 * (gradient * static_cast<double>(along));
  }
}

// A block's shared memory.
struct Summing {
  RoiBox box;
  Edges of_warp[kThreads / kWarp];
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    largest_slopes_kernel(ConstView grad, ConstMaps maps, Pools pools, BoxParts parts, Edges* partial) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Summing& shared = *reinterpret_cast<Summing*>(shared_memory);
  const int32_t height = static_cast<int32_t>(pools.rule.height), width = static_cast<int32_t>(pools.rule.width);
  for (int64_t unit = blockIdx.x; unit < parts.units; unit += gridDim.x) {
    const BoxPart part = parts.at(unit);
    read_box(shared.box, maps, pools, part.row);
    const RoiBox& box = shared.box;
    Edges edges = {{0, 0, 0, 0}};
    const int64_t items = box.image >= 0 && box.level >= 0 ? part.channels * height * width : 0;
    for (int64_t item = threadIdx.x; item < items; item += blockDim.x) {
      const ConstView& map = maps.map[box.level];
      const CropPlace at = place_of(item, part.channels, height, width, map.stride[1] == 1);
      const T* const value = static_cast<const T*>(grad.data) + part.row * grad.stride[0] +
                             (part.first + at.channel) * grad.stride[1] + at.y * grad.stride[2] + at.x * grad.stride[3];
      const double gradient = static_cast<double>(widen(*value));
      on_samples(box, is_wide(pools), at.y, at.x, map, [&](const auto& y, const auto& x) {
        using Box = decltype(y.base + x.base);
        add_slopes_at(y, x, plane_of<T>(map, box.image, part.first + at.channel), pools,
                      static_cast<Box>(pools.scale[box.level]), at, gradient, edges);
      });
    }
    const double sum = sum_of_block(edges, shared.of_warp);
    if (threadIdx.x < 4) partial[unit].value[threadIdx.x] = sum;
  }
}

}  // namespace

void roi_max_forward(const ConstMaps& maps, const ConstMaps& values, const Pools& pools, const View& crops,
                     cudaStream_t stream) {
  const BoxParts parts = parts_of(crops.size[0], crops.size[1], kChannels);
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    launch(&largest_kernel<T>, parts.units, kThreads, static_cast<int64_t>(sizeof(RoiBox)), stream, maps, values, pools,
           crops, parts);
  });
}

int64_t roi_max_grad_boxes_scratch(const ConstMaps& maps, const Pools& pools) {
  return sums_bytes(plan_sums(pools.rois.count, maps.map[0].size[1]));
}

void roi_max_grad_boxes(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, void* scratch,
                        void* grad_boxes, cudaStream_t stream) {
  const BoxParts parts = plan_sums(pools.rois.count, maps.map[0].size[1]);
  Edges* const partial = static_cast<Edges*>(scratch);
  with_image_type(maps.map[0].dtype, [&](auto type) {
    using T = decltype(type);
    launch(&largest_slopes_kernel<T>, parts.units, kThreads, static_cast<int64_t>(sizeof(Summing)), stream, grad_crops,
           maps, pools, parts, partial);
  });
  add_parts(partial, parts, pools.rois, grad_boxes, stream);
}

}  // namespace roi_align::cuda
