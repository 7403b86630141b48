// The box gradient on CUDA: the sum of the derivative at every sample times the movement of the sample with each edge.
//
// A block sums a part of one box: each thread over its samples and channels, then the sums of its threads, always in
// the same order. A second kernel adds up the parts of a box. There are no atomics, so the result is repeatable.

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/cuda/walk.h"
#include "cuda/warp.h"

namespace roi_align::cuda {
namespace {

// The samples of a part: those of eight rounds of a block. A larger crop has more parts.
constexpr int64_t kRounds = 8;

int64_t samples_of(const ConstView& grad_crops) { return grad_crops.size[2] * grad_crops.size[3]; }

// The parts are the same in every layout: those of a block with one sample per thread.
int64_t parts_of(const ConstView& grad_crops) {
  const int64_t work = samples_of(grad_crops) * divide_up(grad_crops.size[1], kSteps);
  const int64_t parts = divide_up(work, kRounds * kThreads);
  return parts < samples_of(grad_crops) ? parts : samples_of(grad_crops);
}

// The mapping of a block's threads to the samples of one box. In planes the threads of whole warps cover the samples of
// the box, and the remaining threads share its channels.
Walk plan_box(const ConstView& grad_crops, int vector, bool channels_fast) {
  const int64_t samples = samples_of(grad_crops);
  Walk walk = plan_walk(samples, grad_crops.size[1], vector, channels_fast);
  if (!channels_fast && samples < kThreads) {
    walk.groups = kThreads / static_cast<int>(divide_up(samples, kWarp) * kWarp);
    walk.slots = kThreads / walk.groups;
  }
  return walk;
}

// d(interpolation)/d(position) * upstream, summed over a thread's channels at one sample.
template <typename T, int count>
__device__ __forceinline__ void sum_channels(const T* crop, int64_t crop_stride, const T* plane, int64_t stride,
                                             const Site<Accumulate<T>>& site, int64_t first, int64_t step,
                                             int64_t channels, Accumulate<T>& sum_y, Accumulate<T>& sum_x) {
  using Acc = Accumulate<T>;
#pragma unroll 2
  for (int64_t c = first; c < channels; c += step) {
    const T* const pixel = plane + c * stride;
    const auto upstream = load<T, count>(crop + c * crop_stride);
    const auto tl = load<T, count>(pixel + site.top_left), tr = load<T, count>(pixel + site.top_right);
    const auto bl = load<T, count>(pixel + site.bottom_left), br = load<T, count>(pixel + site.bottom_right);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const Acc g = widen(upstream.lane[i]);
      const Acc left = widen(tl.lane[i]), right = widen(tr.lane[i]);
      const Acc low_left = widen(bl.lane[i]), low_right = widen(br.lane[i]);
      sum_y += ((Acc(1) - site.lx) * (low_left - left) + site.lx * (low_right - right)) * g;
      sum_x += ((Acc(1) - site.ly) * (right - left) + site.ly * (low_right - low_left)) * g;
    }
  }
}

template <typename T, int count>
__global__ void __launch_bounds__(kThreads)
    grad_boxes_kernel(ConstView grad_crops, ConstView image, BoxList boxes, int64_t parts, Walk walk, Edges* partial) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Edges* const of_warp = reinterpret_cast<Edges*>(shared_memory);
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = walk.channels_fast ? thread / walk.groups : thread % walk.slots;
  const int group = walk.channels_fast ? thread % walk.groups : thread / walk.slots;
  const int64_t crop_height = grad_crops.size[2], crop_width = grad_crops.size[3];
  const int64_t samples = crop_height * crop_width;
  for (int64_t unit = blockIdx.x; unit < boxes.count * parts; unit += gridDim.x) {
    const int64_t row = divide(unit, parts), part = unit - row * parts;
    const int64_t begin = divide(samples * part, parts), end = divide(samples * (part + 1), parts);
    Edges edges = {{0, 0, 0, 0}};
    for (int64_t sample = begin + slot; sample < end; sample += walk.slots) {
      const int64_t y = divide(sample, crop_width), x = sample - y * crop_width;
      const Site<Acc> site = site_at<Acc>(image, boxes, Method::kBilinear, grad_crops, row, y, x);
      if (!site.inside) continue;
      Acc sum_y = 0, sum_x = 0;
      sum_channels<T, count>(crop_at<const T>(grad_crops, site), grad_crops.stride[1],
                             static_cast<const T*>(image.data) + site.image * image.stride[0], image.stride[1], site,
                             int64_t{group} * count, int64_t{walk.groups} * count, walk.channels, sum_y, sum_x);
      const EdgeSlopes move_y = edge_slopes(boxes.rule, y, image.size[2], crop_height);
      const EdgeSlopes move_x = edge_slopes(boxes.rule, x, image.size[3], crop_width);
      edges.value[0] += sum_y * move_y.a1;
      edges.value[1] += sum_x * move_x.a1;
      edges.value[2] += sum_y * move_y.a2;
      edges.value[3] += sum_x * move_x.a2;
    }
    const double sum = sum_of_block(edges, of_warp);
    if (thread < 4) partial[unit].value[thread] = sum;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(const Edges* partial, int64_t parts, int64_t count, BoxRule rule, T* grad_boxes) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count * 4; i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / 4, column = i % 4;
    // The sums have the order (y1, x1, y2, x2); boxes in pixels start with x.
    const int64_t edge = rule == BoxRule::kNormalized ? column : column ^ 1;
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += partial[row * parts + part].value[edge];
    grad_boxes[i] = static_cast<T>(sum);
  }
}

}  // namespace

int64_t grad_boxes_scratch(const ConstView& grad_crops) {
  return grad_crops.size[0] * parts_of(grad_crops) * static_cast<int64_t>(sizeof(Edges));
}

void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* scratch,
                void* grad_boxes, cudaStream_t stream) {
  const int64_t parts = parts_of(grad_crops);
  Edges* const partial = static_cast<Edges*>(scratch);
  const int64_t shared = kThreads / kWarp * static_cast<int64_t>(sizeof(Edges));
  with_image_type(image.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int count = 16 / sizeof(T);
    if (takes_vectors(image, count, sizeof(T)) && takes_vectors(grad_crops, count, sizeof(T))) {
      const Walk walk = plan_box(grad_crops, count, true);
      launch(&grad_boxes_kernel<T, count>, boxes.count * parts, kThreads, shared, stream, grad_crops, image, boxes,
             parts, walk, partial);
    } else {
      const Walk walk = plan_box(grad_crops, 1, channels_innermost(image));
      launch(&grad_boxes_kernel<T, 1>, boxes.count * parts, kThreads, shared, stream, grad_crops, image, boxes, parts,
             walk, partial);
    }
  });
  const int64_t blocks = divide_up(boxes.count * 4, kThreads);
  with_float(boxes.edge_dtype, [&](auto type) {
    using T = decltype(type);
    launch(&add_parts_kernel<T>, blocks, kThreads, 0, stream, static_cast<const Edges*>(partial), parts, boxes.count,
           boxes.rule, static_cast<T*>(grad_boxes));
  });
}

}  // namespace roi_align::cuda
