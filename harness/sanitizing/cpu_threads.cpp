// crop_and_resize's CPU kernels under std::thread, in its three directions.

#include "cpu_threads.h"

#include "crop_and_resize/cpu/call.h"

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

// The crops, the gradient of the image, and that of the boxes.
std::vector<Array> results(const Problem& p, const StdThreads& threads) {
  const BoxList boxes = boxes_of(p);
  const CropCall<StdThreads> call = {threads, boxes};
  const ConstView image = view_of<ConstView>(p.image), upstream = view_of<ConstView>(p.upstream);
  const bool channels_last = channels_innermost(image);
  Array crops = fresh(image.dtype, p.upstream.size, channels_last);
  if (!crops.empty()) call.forward(image, p.method, p.extrapolation_value, view_of<View>(crops));
  Array grad_pixels = fresh(image.dtype, p.image.size, channels_last);
  if (!grad_pixels.empty()) call.grad_image(upstream, p.method, view_of<View>(grad_pixels));
  Array edges{p.boxes.dtype,
              p.boxes.size,
              {4, 1},
              std::vector<unsigned char>(static_cast<size_t>(4 * boxes.count) * bytes_of(p.boxes.dtype), 0)};
  if (!p.upstream.empty()) call.grad_boxes(upstream, image, edges.memory.data());
  return {crops, grad_pixels, edges};
}

}  // namespace

int main(int argc, char** argv) { return compare_threads<Problem>(argc, argv, read, results); }
