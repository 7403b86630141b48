// Runs CPU kernels under std::thread, for the thread sanitizer: GCC's OpenMP, which torch uses, makes it report races that
// are none. The kernels' sources are the package's own; only who hands out the units is another.
//
//   driver CASES SEED [race]     prints how many calls were made; exit 1 if a thread count changes a bit
//
// `race` plants a fault: every unit is given to two threads at once.

#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

namespace {

using namespace roi_align;

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

// Runs work(t) in so many threads.
inline void in_threads(int64_t threads, const std::function<void(int64_t)>& work) {
  std::vector<std::thread> pool;
  for (int64_t t = 0; t < threads; ++t) pool.emplace_back([&, t] { work(t); });
  for (std::thread& thread : pool) thread.join();
}

// Gives units to threads; `race` gives all of them to every thread.
inline void share(int64_t units, int64_t threads, bool race, const std::function<void(Units*)>& work) {
  Units shared{units};
  in_threads(threads, [&](int64_t) {
    Units own{units};
    work(race ? &own : &shared);
  });
}

// Gives each thread a part of `count`; `race` gives all of it to every thread.
inline void in_parts(int64_t count, int64_t threads, bool race, const std::function<void(int64_t, int64_t)>& work) {
  in_threads(threads, [&](int64_t t) {
    work(race ? 0 : count * t / threads, race ? count : count * (t + 1) / threads);
  });
}

// What a driver does: `draw` makes a problem, `results` the bytes of its `directions` results.
template <typename Problem>
int compare_threads(int argc, char** argv, Problem (*draw)(std::mt19937&),
                    std::string (*results)(const Problem&, int64_t, bool), int directions) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  std::mt19937 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 0u);
  const bool race = argc > 3 && std::string(argv[3]) == "race";
  int calls = 0;
  for (int i = 0; i < cases; ++i) {
    const Problem problem = draw(random);
    const std::string alone = results(problem, 1, false);
    for (const int64_t threads : {2, 4, 7}) {
      calls += directions;
      if (results(problem, threads, race) != alone) {
        std::printf("case %d: %d threads give other bits than one\n", i, static_cast<int>(threads));
        return 1;
      }
    }
  }
  std::printf("%d calls on %s kernels, every bit the same for 1, 2, 4 and 7 threads\n", calls, cpu_kernels());
  return 0;
}

}  // namespace
