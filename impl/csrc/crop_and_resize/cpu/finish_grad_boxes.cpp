// The last step of the box gradient: adds up the sums of each box over its blocks of channels.

#include "crop_and_resize/kernels.h"

namespace roi_align {
namespace {

template <typename T> void finish_as(const double* partial, int64_t values, int64_t blocks, T* grad_boxes) {
  for (int64_t i = 0; i < values; ++i) {
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += partial[block * values + i];
    grad_boxes[i] = static_cast<T>(sum);
  }
}

}  // namespace

void finish_grad_boxes(const double* partial, const BoxList& boxes, const Plan& plan, void* grad_boxes) {
  with_float(boxes.edge_dtype, [&](auto type) {
    finish_as(partial, boxes.count * 4, plan.channel_blocks, static_cast<decltype(type)*>(grad_boxes));
  });
}

}  // namespace roi_align
