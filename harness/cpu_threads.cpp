// crop_and_resize's CPU kernels under std::thread, in its three directions.

#include "cpu_threads.h"

#include "cpu/box_table.h"

namespace {

struct Problem {
  int64_t image[4], crops[4];  // N C H W, M C h w
  bool image_last, crops_last, wide_image, wide_boxes;
  int64_t margin;  // of the upstream gradient
  Method method;
  BoxRule rule;
  std::vector<float> numbers;  // where all values come from
  std::vector<double> edges;
  std::vector<float> narrow_edges;
  std::vector<int64_t> indices;
};

Problem draw(std::mt19937& random) {
  const auto number = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  const int64_t channels[] = {1, 2, 3, 4, 8, 16, 19, 35, 80};
  Problem p;
  const int64_t c = channels[number(0, 8)], m = number(1, 60);
  const int64_t image[4] = {number(1, 3), c, number(1, 40), number(1, 40)}, crops[4] = {m, c, number(1, 9), number(1, 9)};
  std::memcpy(p.image, image, sizeof image);
  std::memcpy(p.crops, crops, sizeof crops);
  p.image_last = number(0, 1);
  p.crops_last = number(0, 1);
  p.margin = number(0, 2);
  p.wide_image = number(0, 3) == 0;
  p.wide_boxes = number(0, 3) == 0;
  p.method = number(0, 3) == 0 ? Method::kNearest : Method::kBilinear;
  p.rule = static_cast<BoxRule>(number(0, 2));
  std::normal_distribution<float> normal;
  for (int i = 0; i < 997; ++i) p.numbers.push_back(normal(random));
  std::uniform_real_distribution<double> edge(-0.2, 1.2);
  for (int64_t i = 0; i < 4 * m; ++i) {
    p.edges.push_back(edge(random) * (p.rule == BoxRule::kNormalized ? 1.0 : 30.0));
    p.narrow_edges.push_back(static_cast<float>(p.edges.back()));
  }
  for (int64_t i = 0; i < m; ++i) p.indices.push_back(number(0, image[0] - 1));
  return p;
}

BoxList boxes_of(const Problem& p) {
  return {p.crops[0],
          p.wide_boxes ? static_cast<const void*>(p.edges.data()) : p.narrow_edges.data(),
          p.wide_boxes ? DType::kFloat64 : DType::kFloat32,
          {4, 1},
          p.indices.data(),
          DType::kInt64,
          1,
          p.rule};
}

// The boxes of a call, filled by as many threads.
BoxTable table_of(const Problem& p, const BoxList& boxes, Method method, const Plan& plan, int64_t threads) {
  BoxTable table(boxes, method, p.image, p.crops[2], p.crops[3], p.wide_image ? DType::kFloat64 : DType::kFloat32);
  in_parts(boxes.count, threads, false, [&](int64_t begin, int64_t end) { table.fill(begin, end); });
  table.arrange(plan.order_bands);
  return table;
}

// All three directions of one problem; the bytes of the results.
std::string results(const Problem& p, int64_t threads, bool race) {
  const BoxList boxes = boxes_of(p);
  const Tensor image(p.image, p.image_last, p.wide_image, p.numbers);
  const Tensor upstream(p.crops, p.crops_last, p.wide_image, p.numbers, p.margin);
  const int64_t bytes = p.wide_image ? 8 : 4;
  std::string all;
  {
    const Tensor crops(p.crops, p.image_last && p.image[1] > 1, p.wide_image, p.numbers);
    const Plan plan = plan_forward(image.read(), crops.view, threads);
    const BoxTable table = table_of(p, boxes, p.method, plan, threads);
    share(plan.units, threads, race,
        [&](Units* units) { forward(image.read(), table, p.method, -1.5, crops.view, plan, units); });
    all.append(static_cast<const char*>(crops.view.data), static_cast<size_t>(count(p.crops) * bytes));
  }
  {
    const Tensor gradient(p.image, p.image_last, p.wide_image, p.numbers);
    const Plan plan = plan_grad_image(upstream.read(), gradient.view, threads);
    const BoxTable table = table_of(p, boxes, p.method, plan, threads);
    share(plan.units, threads, race,
        [&](Units* units) { grad_image(upstream.read(), table, p.method, gradient.view, plan, units); });
    all.append(static_cast<const char*>(gradient.view.data), static_cast<size_t>(count(p.image) * bytes));
  }
  {
    const Plan plan = plan_grad_boxes(upstream.read(), image.read(), threads);
    const BoxTable table = table_of(p, boxes, Method::kBilinear, plan, threads);
    std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * boxes.count * 4), 0.0);
    std::vector<double> edges(4 * p.indices.size());
    share(plan.units, threads, race,
        [&](Units* units) { grad_boxes(upstream.read(), image.read(), table, partial.data(), plan, units); });
    finish_grad_boxes(partial.data(), boxes, plan, edges.data());
    all.append(reinterpret_cast<const char*>(edges.data()), static_cast<size_t>(boxes.count * 4 * (p.wide_boxes ? 8 : 4)));
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  return compare_threads<Problem>(argc, argv, draw, results, 3);
}
