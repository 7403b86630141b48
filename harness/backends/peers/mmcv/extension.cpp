// mmcv._ext with the two functions of roi_align, by the names that mmcv/ops/roi_align.py calls them and their arguments
// by. They are mmcv's own; the whole of its extension has a hundred more.
#include <torch/extension.h>

#include "pytorch/roi_align.cpp"

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using pybind11::arg;
  module.def("roi_align_forward", &roi_align_forward, arg("input"), arg("rois"), arg("output"), arg("argmax_y"),
             arg("argmax_x"), arg("aligned_height"), arg("aligned_width"), arg("spatial_scale"), arg("sampling_ratio"),
             arg("pool_mode"), arg("aligned"));
  module.def("roi_align_backward", &roi_align_backward, arg("grad_output"), arg("rois"), arg("argmax_y"),
             arg("argmax_x"), arg("grad_input"), arg("aligned_height"), arg("aligned_width"), arg("spatial_scale"),
             arg("sampling_ratio"), arg("pool_mode"), arg("aligned"));
}
