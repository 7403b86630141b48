// roi_align's mean, forward, on CUDA: rows are weighed once, then columns, in the CPU's order and so with its bits.
//
// A block takes a box and computes its taps itself (roi_align/cuda/bins.h), so that all levels of a pyramid are one
// launch and the host reads no box. The layout of the first level selects one of two kernels; both accept any strides,
// in case levels differ.

#include "roi_align/cuda/forward.h"

namespace roi_align::cuda {

int64_t roi_forward_scratch(const ConstMaps& maps, const Pools& pools) {
  return channels_innermost(maps.map[0]) ? forward_pixels_scratch(maps, pools) : forward_planes_scratch(maps, pools);
}

void roi_forward(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream) {
  if (channels_innermost(maps.map[0])) return forward_pixels(maps, pools, crops, scratch, stream);
  if (takes_planes_warp(maps, pools, crops)) return forward_planes_warp(maps, pools, crops, stream);
  forward_planes(maps, pools, crops, scratch, stream);
}

}  // namespace roi_align::cuda
