// crop_and_resize's CPU kernels under std::thread, in its three directions, each as
// impl/csrc/crop_and_resize/torch_cpu.cpp calls it.

#include "cpu_threads.h"

#include "cpu/isa.h"

namespace {

struct Problem {
  Array image, boxes, indices, upstream;  // (N,C,H,W), (M,4), (M), (M,C,h,w)
  Method method;
  BoxRule rule;
  double extrapolation_value;
};

Problem read() {
  Problem p{read_array(), read_array(), read_array(), read_array(), {}, {}, {}};
  p.method = static_cast<Method>(read_number<int64_t>());
  p.rule = static_cast<BoxRule>(read_number<int64_t>());
  p.extrapolation_value = read_number<double>();
  return p;
}

BoxList boxes_of(const Problem& p) {
  return {p.boxes.size[0],         p.boxes.memory.data(), p.boxes.dtype,       {p.boxes.stride[0], p.boxes.stride[1]},
          p.indices.memory.data(), p.indices.dtype,       p.indices.stride[0], p.rule};
}

// The boxes of a call, filled by as many threads.
BoxTable table_of(const Problem& p, const BoxList& boxes, Method method, const Plan& plan, int64_t threads) {
  const ConstView image = view_of<ConstView>(p.image);
  BoxTable table(boxes, method, image.size, p.upstream.size[2], p.upstream.size[3], image.dtype);
  in_parts(boxes.count, threads, false, [&](int64_t begin, int64_t end) { table.fill(begin, end); });
  table.arrange(plan.order_bands);
  return table;
}

// The crops, the gradient of the image, and that of the boxes.
std::vector<Array> results(const Problem& p, int64_t threads, bool race) {
  const BoxList boxes = boxes_of(p);
  const ConstView image = view_of<ConstView>(p.image), upstream = view_of<ConstView>(p.upstream);
  const bool channels_last = channels_innermost(image);
  Array crops = fresh(image.dtype, p.upstream.size, channels_last);
  if (!crops.empty()) {
    const View view = view_of<View>(crops);
    const Plan plan = plan_forward(image, view, threads);
    const BoxTable table = table_of(p, boxes, p.method, plan, threads);
    share(plan.units, threads, race,
          [&](Units* units) { kernels().forward(image, table, p.method, p.extrapolation_value, view, plan, units); });
  }
  Array grad_pixels = fresh(image.dtype, p.image.size, channels_last);
  if (!grad_pixels.empty()) {
    const View view = view_of<View>(grad_pixels);
    const Plan plan = plan_grad_image(upstream, view, threads);
    const BoxTable table = table_of(p, boxes, p.method, plan, threads);
    share(plan.units, threads, race,
          [&](Units* units) { kernels().grad_image(upstream, table, p.method, view, plan, units); });
  }
  Array edges{p.boxes.dtype,
              p.boxes.size,
              {4, 1},
              std::vector<unsigned char>(static_cast<size_t>(4 * boxes.count) * bytes_of(p.boxes.dtype), 0)};
  if (!p.upstream.empty()) {
    const Plan plan = plan_grad_boxes(upstream, image, threads);
    const BoxTable table = table_of(p, boxes, Method::kBilinear, plan, threads);
    std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * boxes.count * 4), 0.0);
    share(plan.units, threads, race,
          [&](Units* units) { kernels().grad_boxes(upstream, image, table, partial.data(), plan, units); });
    finish_grad_boxes(partial.data(), boxes, plan, edges.memory.data());
  }
  return {crops, grad_pixels, edges};
}

}  // namespace

int main(int argc, char** argv) { return compare_threads<Problem>(argc, argv, read, results); }
