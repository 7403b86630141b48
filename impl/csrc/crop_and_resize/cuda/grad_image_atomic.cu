// The image gradient on CUDA by atomics: every sample adds to its four pixels, in no fixed order.
//
// This is the fastest way if samples seldom share pixels. Two calls may differ in their last bits; deterministic mode
// uses grad_image_gather.cu.

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/cuda/walk.h"

namespace roi_align::cuda {
namespace {

template <typename Acc> __device__ __forceinline__ void add(Acc* pixel, const Vector<Acc, 1>& value) {
  atomicAdd(pixel, value.lane[0]);
}

__device__ __forceinline__ void add(double* pixel, const Vector<double, 2>& value) {
  atomicAdd(pixel, value.lane[0]);
  atomicAdd(pixel + 1, value.lane[1]);
}

__device__ __forceinline__ void add(float* pixel, const Vector<float, 4>& value) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(pixel), make_float4(value.lane[0], value.lane[1], value.lane[2], value.lane[3]));
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) atomicAdd(pixel + i, value.lane[i]);
#endif
}

// Eight halves are added as eight floats.
__device__ __forceinline__ void add(float* pixel, const Vector<float, 8>& value) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    Vector<float, 4> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.lane[i] = value.lane[4 * half + i];
    add(pixel + 4 * half, four);
  }
}

template <int count, typename Acc>
__device__ __forceinline__ Vector<Acc, count> scaled(Acc weight, const Vector<Acc, count>& value) {
  Vector<Acc, count> product;
#pragma unroll
  for (int i = 0; i < count; ++i) product.lane[i] = weight * value.lane[i];
  return product;
}

template <typename T, int count>
__global__ void __launch_bounds__(kThreads)
    atomic_kernel(ConstView grad_crops, BoxList boxes, Method method, View sums, Walk walk) {
  using Acc = Accumulate<T>;
  for (int64_t unit = blockIdx.x; unit < walk.units; unit += gridDim.x) {
    const Task task = task_of<count>(walk, unit);
    if (task.sample >= walk.samples) continue;
    const Site<Acc> site = site_of<Acc>(sums, boxes, method, grad_crops, task.sample);
    if (!site.inside) continue;
    const T* const crop = crop_at<const T>(grad_crops, site);
    Acc* const plane = static_cast<Acc*>(sums.data) + site.image * sums.stride[0];
    const int64_t crop_stride = grad_crops.stride[1], stride = sums.stride[1];
#pragma unroll 2
    for (int64_t c = task.first; c < task.end; c += task.step) {
      const auto upstream = load<T, count>(crop + c * crop_stride);
      Vector<Acc, count> g;
#pragma unroll
      for (int i = 0; i < count; ++i) g.lane[i] = widen(upstream.lane[i]);
      Acc* const pixel = plane + c * stride;
      if (method == Method::kNearest) {
        add(pixel + site.top_left, g);
        continue;
      }
      const auto top = scaled(Acc(1) - site.ly, g), bottom = scaled(site.ly, g);
      add(pixel + site.top_left, scaled(Acc(1) - site.lx, top));
      add(pixel + site.top_right, scaled(site.lx, top));
      add(pixel + site.bottom_left, scaled(Acc(1) - site.lx, bottom));
      add(pixel + site.bottom_right, scaled(site.lx, bottom));
    }
  }
}

}  // namespace

void grad_image_atomic(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& sums,
                       cudaStream_t stream) {
  const int64_t samples = grad_crops.size[0] * grad_crops.size[2] * grad_crops.size[3], channels = grad_crops.size[1];
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int count = 16 / sizeof(T);
    if (takes_vectors(grad_crops, count, sizeof(T)) && takes_vectors(sums, count, sizeof(Accumulate<T>))) {
      const Walk walk = plan_walk(samples, channels, count, true);
      launch(&atomic_kernel<T, count>, walk.units, kThreads, 0, stream, grad_crops, boxes, method, sums, walk);
    } else {
      const Walk walk = plan_walk(samples, channels, 1, channels_innermost(sums));
      launch(&atomic_kernel<T, 1>, walk.units, kThreads, 0, stream, grad_crops, boxes, method, sums, walk);
    }
  });
}

}  // namespace roi_align::cuda
