// The forward on CUDA: every crop's sample from its four pixels, in the CPU's rounding order and so with its bits.
//
// Threads share nothing, and nothing expensive is computed twice: a thread computes the position of its sample, then
// reads, interpolates and writes channel after channel, with the loads of a few channels under way at once. The kernel
// is bound by memory.

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

// The four values that a sample reads in one channel, or in `count` adjacent channels.
template <typename T, int count> struct Corners {
  Vector<T, count> top_left, top_right, bottom_left, bottom_right;
};

template <typename T, int count, typename Site>
__device__ __forceinline__ Vector<T, count> interpolate(const Corners<T, count>& corners, const Site& site) {
  using Acc = Accumulate<T>;
  Vector<T, count> result;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const Acc left = widen(corners.top_left.lane[i]), right = widen(corners.top_right.lane[i]);
    const Acc low_left = widen(corners.bottom_left.lane[i]), low_right = widen(corners.bottom_right.lane[i]);
    const Acc top = left + (right - left) * site.lx;
    const Acc bottom = low_left + (low_right - low_left) * site.lx;
    result.lane[i] = narrow<T>(top + (bottom - top) * site.ly);
  }
  return result;
}

// The addresses at which a thread reads and writes its next channel, and the distance to the channel after it.
template <typename T> struct Cursor {
  const T *top_left, *top_right, *bottom_left, *bottom_right;
  T* crop;
  int64_t next, next_crop;

  __device__ __forceinline__ void advance() {
    top_left += next, top_right += next, bottom_left += next, bottom_right += next;
  }
};

// Loads the pixels of `channels` channels, or vectors of channels, before it stores the first result: the compiler does
// not know that crops and image do not overlap, and moves no load before a store.
template <int channels, int count, typename T, typename Site>
__device__ __forceinline__ void resize(Cursor<T>& at, Method method, const Site& site) {
  Corners<T, count> corners[channels];
#pragma unroll
  for (int i = 0; i < channels; ++i) {
    corners[i] = {load<T, count>(at.top_left), load<T, count>(at.top_right), load<T, count>(at.bottom_left),
                  load<T, count>(at.bottom_right)};
    at.advance();
  }
#pragma unroll
  for (int i = 0; i < channels; ++i) {
    store(at.crop, method == Method::kNearest ? corners[i].top_left : interpolate<T, count>(corners[i], site));
    at.crop += at.next_crop;
  }
}

// Channels at once: 64 bytes per thread. Twice as many would need so many registers that a third fewer blocks fit.
template <typename T, int count> constexpr int kAtOnce = count > 1 ? 1 : sizeof(T) == 8 ? 2 : 4;

template <typename T, int count>
__global__ void __launch_bounds__(kThreads, 3)
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
    const T* const first = plane + task.first * stride;
    Cursor<T> at = {first + site.top_left,     first + site.top_right,          first + site.bottom_left,
                    first + site.bottom_right, crop + task.first * crop_stride, task.step * stride,
                    task.step * crop_stride};
    const int channels = static_cast<int>(task.end - task.first), step = static_cast<int>(task.step);
    constexpr int most = kAtOnce<T, count>;
    int left = channels > 0 ? (channels + step - 1) / step : 0;
    for (; left >= most; left -= most) resize<most, count>(at, method, site);
    if (most > 2 && left >= 2) resize<2, count>(at, method, site);
    if (left % 2 != 0) resize<1, count>(at, method, site);
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
