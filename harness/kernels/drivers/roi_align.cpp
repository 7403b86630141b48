// roi_align's kernels as plain C functions, for Python.

#include "driver.h"

#include "roi_align/cuda/kernels.h"

using namespace roi_align;

extern "C" {

// What a call in any direction is about; calls.py has the same fields. The forward
// writes crops, the gradient of the maps those in grad_maps, that of the boxes box_gradient; the others are read.
struct RoiCall {
  int64_t levels;
  Array maps[cuda::kMostLevels];
  Array values[cuda::kMostLevels];
  Array grad_maps[cuda::kMostLevels];
  double scales[cuda::kMostLevels];
  Array crops;
  Array boxes;
  Array box_gradient;
  int64_t sampling_ratio;
  int64_t aligned;
  int64_t first_level;
  double canonical_scale;
  int64_t canonical_level;
};

}  // extern "C"

namespace {

template <typename Void> cuda::Pyramid<Void> maps_of(const RoiCall& call, const Array* arrays) {
  cuda::Pyramid<Void> maps = {};
  maps.levels = call.levels;
  for (int64_t level = 0; level < call.levels; ++level) maps.map[level] = view_of<BasicView<Void>>(arrays[level]);
  return maps;
}

cuda::ConstMaps read(const RoiCall& call, const Array* arrays) { return maps_of<const void>(call, arrays); }

cuda::Pools pools_of(const RoiCall& call) {
  const Array& boxes = call.boxes;
  cuda::Pools pools = {
      {boxes.size[0], boxes.data, dtype_of(boxes), {boxes.stride[0], boxes.stride[1]}},
      {call.crops.size[2], call.crops.size[3], call.sampling_ratio, call.aligned != 0},
      level_rule(call.first_level, call.scales, call.levels, call.canonical_scale, call.canonical_level),
      {}};
  for (int64_t level = 0; level < call.levels; ++level) pools.scale[level] = call.scales[level];
  return pools;
}

}  // namespace

extern "C" {

const char* roi_avg_forward(const RoiCall* call) {
  return attempt([&] {
    const cuda::ConstMaps maps = read(*call, call->maps);
    const Scratch scratch(cuda::roi_forward_scratch(maps, pools_of(*call)));
    cuda::roi_forward(maps, pools_of(*call), view_of<View>(call->crops), scratch.data(), nullptr);
  });
}

const char* roi_avg_grad_image(const RoiCall* call) {
  return attempt([&] {
    const cuda::Maps grad_maps = maps_of<void>(*call, call->grad_maps);
    const Scratch scratch(cuda::roi_grad_maps_scratch(grad_maps, call->boxes.size[0]));
    cuda::roi_grad_maps(view_of<ConstView>(call->crops), pools_of(*call), grad_maps, scratch.data(), nullptr);
  });
}

const char* roi_avg_grad_boxes(const RoiCall* call) {
  return attempt([&] {
    const cuda::ConstMaps maps = read(*call, call->maps);
    const Scratch scratch(cuda::roi_grad_boxes_scratch(maps, pools_of(*call)));
    cuda::roi_grad_boxes(view_of<ConstView>(call->crops), maps, pools_of(*call), scratch.data(),
                         call->box_gradient.data, nullptr);
  });
}

const char* roi_max_forward(const RoiCall* call) {
  return attempt([&] {
    cuda::roi_max_forward(read(*call, call->maps), read(*call, call->values), pools_of(*call),
                          view_of<View>(call->crops), nullptr);
  });
}

const char* roi_max_grad_image(const RoiCall* call) {
  return attempt([&] {
    const cuda::Maps grad_maps = maps_of<void>(*call, call->grad_maps);
    const Scratch scratch(cuda::roi_grad_maps_scratch(grad_maps, call->boxes.size[0]));
    cuda::roi_max_grad_maps(view_of<ConstView>(call->crops), read(*call, call->maps), pools_of(*call), grad_maps,
                            scratch.data(), nullptr);
  });
}

const char* roi_max_grad_boxes(const RoiCall* call) {
  return attempt([&] {
    const cuda::ConstMaps maps = read(*call, call->maps);
    const Scratch scratch(cuda::roi_max_grad_boxes_scratch(maps, pools_of(*call)));
    cuda::roi_max_grad_boxes(view_of<ConstView>(call->crops), maps, pools_of(*call), scratch.data(),
                             call->box_gradient.data, nullptr);
  });
}

}  // extern "C"
