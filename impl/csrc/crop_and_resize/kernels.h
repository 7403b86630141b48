// The kernels' interface: plain structs and pointers, so that a kernel can be built, tested and sanitised without torch.
//
// A kernel takes work units, one after the other, and computes those and nothing else. Units own what they write, so any
// number of threads may share them, in any order, and the result is the same to the last bit.

#pragma once

#include <atomic>
#include <cstdint>

#include "crop_and_resize/rule.h"

namespace roi_align {

enum class DType : int8_t { kFloat32, kFloat64, kInt32, kInt64, kFloat16, kBFloat16 };

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

// Channels lie next to each other.
template <typename Void>
bool channels_innermost(const BasicView<Void>& view) {
  return view.size[1] > 1 && view.stride[1] == 1 && (view.size[2] > 1 || view.size[3] > 1);
}

// The instruction set whose kernels this process uses; std::invalid_argument if ROI_ALIGN_CPU asks for one it lacks.
const char* cpu_kernels();

// The first row whose index is not in [0, images), or -1.
int64_t first_bad_index(const BoxList& boxes, int64_t images);

// The first row with an edge or a sample position that is not finite, or -1.
int64_t first_bad_box(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width);

// How the pixels of an image are walked.
enum class Path : int8_t {
  kChannels,  // channels are innermost: vectors along them
  kTurned,    // planes, many samples: blocks of planes are turned into pixels first, then as kChannels
  kDirect,    // planes, few samples: sample by sample where they lie
  kCells,     // up to four channels, many samples (gradient of the image): a pixel is one short vector
};

// How work on an image (N,C,H,W) is cut: a unit is a part of a block of channels, parts innermost. Of what it is a part
// stands beside each kernel.
struct Plan {
  Path path;
  int64_t channel_block;
  int64_t channel_blocks;
  int64_t parts;
  int64_t units;
  int64_t order_bands;  // for BoxTable::arrange
};

// The units of a plan, one by one to whoever asks: a thread that is done early takes more of them.
struct Units {
  int64_t count;
  std::atomic<int64_t> next{0};

  bool take(int64_t* unit) {
    *unit = next.fetch_add(1, std::memory_order_relaxed);
    return *unit < count;
  }
};

class BoxTable;  // cpu/tables.h

// Forward: crops (M,C,h,w), dense. On Path::kTurned a unit is a part of the boxes of one image in a block of channels, on
// the others a part of all boxes.
Plan plan_forward(const ConstView& image, const View& crops, int64_t threads);
void forward(const ConstView& image, const BoxTable& boxes, Method method, double extrapolation_value,
             const View& crops, const Plan& plan, Units* units);

// Gradient of the image (N,C,H,W), dense. A unit is a band of rows of a block of channels of one image: it sums what
// the boxes send there, in the order box, y, x, top-left, top-right, bottom-left, bottom-right, and writes it once. That
// is TensorFlow's order at every pixel, whatever the cut into units.
Plan plan_grad_image(const ConstView& grad_crops, const View& grad_image, int64_t threads);
void grad_image(const ConstView& grad_crops, const BoxTable& boxes, Method method, const View& grad_image,
                const Plan& plan, Units* units);

// Gradient of the boxes, (M, 4) contiguous in the dtype of the edges. Units as in the forward; each sums over its
// channels and leaves four doubles for each of its boxes in partial[channel_blocks][M][4], which is zero before;
// finish_grad_boxes adds those up, block by block.
Plan plan_grad_boxes(const ConstView& grad_crops, const ConstView& image, int64_t threads);
void grad_boxes(const ConstView& grad_crops, const ConstView& image, const BoxTable& boxes, double* partial,
                const Plan& plan, Units* units);
void finish_grad_boxes(const double* partial, const BoxList& boxes, const Plan& plan, void* grad_boxes);

}  // namespace roi_align
