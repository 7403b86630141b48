// The interface of crop_and_resize's kernels, in plain structs (common/view.h) and units of work (common/units.h).

#pragma once

#include <cstdint>

#include "common/units.h"
#include "common/view.h"
#include "crop_and_resize/rule.h"

namespace roi_align {

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

// The first row whose index is not in [0, images), or -1.
int64_t first_bad_index(const BoxList& boxes, int64_t images);

// The first row with an edge or a sample position that is not finite, or -1.
int64_t first_bad_box(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width);

// How a kernel walks over the pixels of an image.
enum class Path : int8_t {
  kChannels,  // channels are innermost: vectors along them
  kTurned,    // planes, many samples: blocks of planes are turned into pixels first, then as kChannels
  kDirect,    // planes, few samples: sample by sample where they lie
  kCells,     // up to four channels, many samples (gradient of the image): a pixel is one short vector
};

// The division of the work on an image (N,C,H,W): a unit is one part of one block of channels, parts innermost. Each
// kernel's comment says what the parts divide.
struct Plan {
  Path path;
  int64_t channel_block;
  int64_t channel_blocks;
  int64_t parts;
  int64_t units;
  int64_t order_bands;  // for BoxTable::arrange
  bool fresh = false;   // the gradient's memory is not mapped yet, which makes stores past the caches slow
};

class BoxTable;  // cpu/tables.h

// Forward: crops (M,C,h,w), dense. On Path::kTurned the parts divide the boxes of one image, on other paths all boxes.
Plan plan_forward(const ConstView& image, const View& crops, int64_t threads);
using ForwardKernel = void(const ConstView& image, const BoxTable& boxes, Method method, double extrapolation_value,
                           const View& crops, const Plan& plan, Units* units);

// Image gradient (N,C,H,W), dense. A part is a band of rows of one image: a unit sums the boxes' contributions to it,
// in the order box, y, x, top-left, top-right, bottom-left, bottom-right, and writes it once. That is TensorFlow's
// order at every pixel, for any division into units.
Plan plan_grad_image(const ConstView& grad_crops, const View& grad_image, int64_t threads);
using GradImageKernel = void(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& grad_image,
                             const Plan& plan, Units* units);

// Box gradient, (M, 4) contiguous in the dtype of the edges. Units as in the forward; each sums over its channels and
// writes four doubles for each of its boxes to partial[channel_blocks][M][4], which is zero before. finish_grad_boxes
// adds them up, block by block.
Plan plan_grad_boxes(const ConstView& grad_crops, const ConstView& image, int64_t threads);
using GradBoxesKernel = void(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes,
                             double* partial, const Plan& plan, Units* units);
void finish_grad_boxes(const double* partial, const BoxList& boxes, const Plan& plan, void* grad_boxes);

}  // namespace roi_align
