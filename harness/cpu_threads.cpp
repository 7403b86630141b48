// Runs the CPU kernels under std::thread, for the thread sanitizer: GCC's OpenMP, which torch uses, makes it report races
// that are none. The kernels' sources are the package's own; only who hands out the units is another.
//
//   driver CASES SEED [race]     prints how many calls were made; exit 1 if a thread count changes a bit
//
// `race` plants a fault: every unit is given to two threads at once.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cpu/box_table.h"
#include "kernels.h"

namespace {

using namespace roi_align;

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

int64_t count(const int64_t (&size)[4]) { return size[0] * size[1] * size[2] * size[3]; }

// A tensor of one of the two layouts, in memory that ends with its last element. `margin` rows and columns lie before
// those of each plane, as before a view's.
struct Tensor {
  std::vector<float> narrow;
  std::vector<double> wide;
  View view;

  Tensor(const int64_t (&size)[4], bool channels_last, bool is_wide, const std::vector<float>& numbers,
         int64_t margin = 0) {
    const int64_t c = size[1], h = size[2] + margin, w = size[3] + margin;
    const int64_t all = size[0] * c * h * w;
    for (int64_t i = 0; i < all; ++i) {
      const float value = numbers[static_cast<size_t>(i) % numbers.size()];
      is_wide ? wide.push_back(value) : narrow.push_back(value);
    }
    narrow.shrink_to_fit();
    wide.shrink_to_fit();
    view = {nullptr, is_wide ? DType::kFloat64 : DType::kFloat32, {size[0], c, size[2], size[3]},
            {c * h * w, h * w, w, 1}};
    if (channels_last) {
      view.stride[1] = 1;
      view.stride[2] = w * c;
      view.stride[3] = c;
    }
    const int64_t first = margin * (view.stride[2] + view.stride[3]);
    view.data = is_wide ? static_cast<void*>(wide.data() + first) : narrow.data() + first;
  }

  ConstView read() const {
    ConstView view_of{view.data, view.dtype, {}, {}};
    std::memcpy(view_of.size, view.size, sizeof view.size);
    std::memcpy(view_of.stride, view.stride, sizeof view.stride);
    return view_of;
  }
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

// Gives the units of a plan to threads; `race` gives all of them to every thread.
void run(const Plan& plan, int64_t threads, bool race, const std::function<void(Units*)>& work) {
  Units shared{plan.units};
  std::vector<std::thread> pool;
  for (int64_t t = 0; t < threads; ++t) {
    pool.emplace_back([&] {
      Units own{plan.units};
      work(race ? &own : &shared);
    });
  }
  for (std::thread& thread : pool) thread.join();
}

// The boxes of a call, filled by as many threads.
BoxTable table_of(const Problem& p, const BoxList& boxes, Method method, const Plan& plan, int64_t threads) {
  BoxTable table(boxes, method, p.image, p.crops[2], p.crops[3], p.wide_image ? DType::kFloat64 : DType::kFloat32);
  std::vector<std::thread> pool;
  for (int64_t t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] { table.fill(boxes.count * t / threads, boxes.count * (t + 1) / threads); });
  }
  for (std::thread& thread : pool) thread.join();
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
    run(plan, threads, race,
        [&](Units* units) { forward(image.read(), table, p.method, -1.5, crops.view, plan, units); });
    all.append(static_cast<const char*>(crops.view.data), static_cast<size_t>(count(p.crops) * bytes));
  }
  {
    const Tensor gradient(p.image, p.image_last, p.wide_image, p.numbers);
    const Plan plan = plan_grad_image(upstream.read(), gradient.view, threads);
    const BoxTable table = table_of(p, boxes, p.method, plan, threads);
    run(plan, threads, race,
        [&](Units* units) { grad_image(upstream.read(), table, p.method, gradient.view, plan, units); });
    all.append(static_cast<const char*>(gradient.view.data), static_cast<size_t>(count(p.image) * bytes));
  }
  {
    const Plan plan = plan_grad_boxes(upstream.read(), image.read(), threads);
    const BoxTable table = table_of(p, boxes, Method::kBilinear, plan, threads);
    std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * boxes.count * 4), 0.0);
    std::vector<double> edges(4 * p.indices.size());
    run(plan, threads, race,
        [&](Units* units) { grad_boxes(upstream.read(), image.read(), table, partial.data(), plan, units); });
    finish_grad_boxes(partial.data(), boxes, plan, edges.data());
    all.append(reinterpret_cast<const char*>(edges.data()), static_cast<size_t>(boxes.count * 4 * (p.wide_boxes ? 8 : 4)));
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  std::mt19937 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 0u);
  const bool race = argc > 3 && std::string(argv[3]) == "race";
  int calls = 0;
  for (int i = 0; i < cases; ++i) {
    const Problem problem = draw(random);
    const std::string alone = results(problem, 1, false);
    for (const int64_t threads : {2, 4, 7}) {
      calls += 3;
      if (results(problem, threads, race) != alone) {
        std::printf("case %d: %d threads give other bits than one\n", i, static_cast<int>(threads));
        return 1;
      }
    }
  }
  std::printf("%d calls on %s kernels, every bit the same for 1, 2, 4 and 7 threads\n", calls, cpu_kernels());
  return 0;
}
