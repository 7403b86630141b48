// The kernels' interface: plain structs and pointers, so that a kernel can be built, tested and sanitised without torch.
//
// A kernel computes a range of its work units and nothing else. Units own what they write, so ranges may run on any
// number of threads, in any order, and the result is the same to the last bit.

#pragma once

#include <cstdint>

#include "sampling.h"

namespace roi_align {

enum class DType : int8_t { kFloat32, kFloat64, kInt32, kInt64 };

// Four dimensions, N C H W for images and M C h w for crops; strides in elements, any strides.
template <typename Void>
struct BasicView {
  Void* data;
  DType dtype;
  int64_t size[4];
  int64_t stride[4];
};
using View = BasicView<void>;
using ConstView = BasicView<const void>;

// M boxes of four edges, columns (y1, x1, y2, x2) if normalized and (x1, y1, x2, y2) in pixels, and the image of each.
struct BoxList {
  int64_t count;
  const void* edges;
  DType edge_dtype;
  int64_t edge_stride[2];
  const void* indices;
  DType index_dtype;
  int64_t index_stride;
  BoxRule rule;
};

// Channels lie next to each other: loops run over channels. Otherwise they run over the pixels of a plane.
template <typename Void>
bool channels_innermost(const BasicView<Void>& view) {
  return view.size[1] > 1 && view.stride[1] == 1 && (view.size[2] > 1 || view.size[3] > 1);
}

int64_t image_index(const BoxList& boxes, int64_t row);

// The first row whose index is not in [0, images), or -1.
int64_t first_bad_index(const BoxList& boxes, int64_t images);

// The first row with an edge or a sample position that is not finite, or -1.
int64_t first_bad_box(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width);

// Forward. A unit is one box in one block of channels.
int64_t forward_units(const ConstView& image, const BoxList& boxes);
void forward(const ConstView& image, const BoxList& boxes, Method method, double extrapolation_value,
             const View& crops, int64_t begin, int64_t end);

// Gradient of the image. A unit is a block of channels in a band of rows of one image: it clears what it owns, then
// adds what the boxes send there, in the order box, y, x, top-left, top-right, bottom-left, bottom-right. That is
// TensorFlow's order at every pixel, whatever the cut into units.
struct GradImagePlan {
  int64_t channel_block;
  int64_t channel_blocks;
  int64_t row_band;
  int64_t row_bands;
  int64_t units;
};
GradImagePlan plan_grad_image(const View& grad_image, int64_t threads);
void grad_image(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                const GradImagePlan& plan, int64_t begin, int64_t end);

// Gradient of the boxes, (M, 4) contiguous in the dtype of the edges. A unit is one box.
void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxList& boxes, void* grad_boxes,
                int64_t begin, int64_t end);

}  // namespace roi_align
