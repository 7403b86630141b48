// The forward on CUDA: every crop's sample from its four pixels, in the CPU's rounding order and so with its bits.
//
// Nothing is shared between threads and nothing is computed twice that costs: a thread works out where its sample lies,
// then reads, interpolates and writes channel after channel. The work left is memory's.

#include <cmath>

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/cuda/walk.h"

namespace roi_align::cuda {
namespace {

template <typename T, int count>
__device__ __forceinline__ void fill(T* crop, int64_t stride, const Task& task, Accumulate<T> value) {
  Vector<T, count> vector;
#pragma unroll
  for (int i = 0; i < count; ++i) vector.lane[i] = narrow<T>(value);
  for (int64_t c = task.first; c < task.end; c += task.step) store(crop + c * stride, vector);
}

template <typename T, int count>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(ConstView image, BoxList boxes, Method method, double extrapolation_value, View crops, Walk walk) {
  using Acc = Accumulate<T>;
  for (int64_t unit = blockIdx.x; unit < walk.units; unit += gridDim.x) {
    const Task task = task_of<count>(walk, unit);
    if (task.sample >= walk.samples) continue;
    const Site<Acc> site = site_of<Acc>(image, boxes, method, crops, task.sample);
    T* const crop = crop_at<T>(crops, site);
    const int64_t crop_stride = crops.stride[1], stride = image.stride[1];
    if (!site.inside) {
      const Acc value = site.image < 0 ? static_cast<Acc>(NAN) : static_cast<Acc>(extrapolation_value);
      fill<T, count>(crop, crop_stride, task, value);
      continue;
    }
    const T* const plane = static_cast<const T*>(image.data) + site.image * image.stride[0];
    if (method == Method::kNearest) {
#pragma unroll 4
      for (int64_t c = task.first; c < task.end; c += task.step) {
        store(crop + c * crop_stride, load<T, count>(plane + c * stride + site.top_left));
      }
      continue;
    }
#pragma unroll 4
    for (int64_t c = task.first; c < task.end; c += task.step) {
      const T* const pixel = plane + c * stride;
      const auto tl = load<T, count>(pixel + site.top_left), tr = load<T, count>(pixel + site.top_right);
      const auto bl = load<T, count>(pixel + site.bottom_left), br = load<T, count>(pixel + site.bottom_right);
      Vector<T, count> result;
#pragma unroll
      for (int i = 0; i < count; ++i) {
        const Acc left = widen(tl.lane[i]), right = widen(tr.lane[i]);
        const Acc low_left = widen(bl.lane[i]), low_right = widen(br.lane[i]);
        const Acc top = left + (right - left) * site.lx;
        const Acc bottom = low_left + (low_right - low_left) * site.lx;
        result.lane[i] = narrow<T>(top + (bottom - top) * site.ly);
      }
      store(crop + c * crop_stride, result);
    }
  }
}

}  // namespace

void forward(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value, const View& crops,
             cudaStream_t stream) {
  const int64_t samples = crops.size[0] * crops.size[2] * crops.size[3], channels = crops.size[1];
  with_image_type(image.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int count = 16 / sizeof(T);
    if (takes_vectors(image, count, sizeof(T)) && takes_vectors(crops, count, sizeof(T))) {
      const Walk walk = plan_walk(samples, channels, count, true);
      launch(&forward_kernel<T, count>, walk.units, kThreads, 0, stream, image, boxes, method, extrapolation_value,
             crops, walk);
    } else {
      const Walk walk = plan_walk(samples, channels, 1, channels_innermost(image));
      launch(&forward_kernel<T, 1>, walk.units, kThreads, 0, stream, image, boxes, method, extrapolation_value, crops,
             walk);
    }
  });
}

}  // namespace roi_align::cuda
