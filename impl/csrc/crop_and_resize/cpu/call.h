// A call of crop_and_resize on the CPU, with memory for its results: it fills the table of boxes, divides the work and
// runs the kernels, on the caller's threads (roi_align/cpu/call.h describes their interface). No size is 0.

#pragma once

#include "cpu/isa.h"

namespace roi_align {

template <typename Threads> struct CropCall {
  const Threads& threads;
  const BoxList& boxes;

  void forward(const ConstView& image, Method method, double extrapolation_value, const View& crops) const {
    const Plan plan = plan_forward(image, crops, threads.count());
    const BoxTable table = table_of(method, image.size, crops, plan);
    threads.share(plan.units, elements(crops), [&](Units* units) {
      kernels().forward(image, table, method, extrapolation_value, crops, plan, units);
    });
  }

  void grad_image(const ConstView& grad, Method method, const View& image) const {
    Plan plan = plan_grad_image(grad, image, threads.count());
    plan.fresh = threads.is_fresh(image);
    const BoxTable table = table_of(method, image.size, grad, plan);
    threads.share(plan.units, elements(grad) + elements(image),
                  [&](Units* units) { kernels().grad_image(grad, table, method, image, plan, units); });
  }

  // (M, 4) in the dtype of the edges.
  void grad_boxes(const ConstView& grad, const ConstView& image, void* gradient) const {
    const Plan plan = plan_grad_boxes(grad, image, threads.count());
    const BoxTable table = table_of(Method::kBilinear, image.size, grad, plan);
    std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * boxes.count * 4), 0.0);
    threads.share(plan.units, elements(grad),
                  [&](Units* units) { kernels().grad_boxes(grad, image, table, partial.data(), plan, units); });
    finish_grad_boxes(partial.data(), boxes, plan, gradient);
  }

 private:
  template <typename AnyView>
  BoxTable table_of(Method method, const int64_t (&image_size)[4], const AnyView& crops, const Plan& plan) const {
    BoxTable table(boxes, method, image_size, crops.size[2], crops.size[3], crops.dtype);
    threads.prepare(boxes.count, 4 * boxes.count * (crops.size[2] + crops.size[3]),
                    [&](int64_t begin, int64_t end) { table.fill(begin, end); });
    table.arrange(plan.order_bands);
    return table;
  }
};

}  // namespace roi_align
