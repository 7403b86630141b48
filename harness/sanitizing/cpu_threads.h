// Runs CPU kernels under std::thread, for the sanitizers: GCC's OpenMP, which torch uses, makes the thread sanitizer
// report races that are none. The kernels' sources are the package's own; only who hands out the units is another.
//
//   driver [race] < PROBLEMS > RESULTS
//
// Both are numbers and arrays as harness/sanitizing/packing.py has them: how many problems, then those, one after
// another, as each driver reads them; for each how many arrays its results are, then those, of one thread. Exit 1 if 2,
// 4 or 7 threads give other bits. `race` plants a fault: every unit is given to several threads at once.

#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cpu/isa.h"

namespace {

using namespace roi_align;

// What is read before its first element or behind its last one is nobody's. Strides in elements.
struct Array {
  DType dtype;
  std::vector<int64_t> size, stride;
  std::vector<unsigned char> memory;

  bool empty() const { return memory.empty(); }
};

inline size_t bytes_of(DType dtype) { return dtype == DType::kFloat64 || dtype == DType::kInt64 ? 8 : 4; }

// A dense result of four dimensions. Fresh memory holds what was left in it: here it is NaN.
inline Array fresh(DType dtype, const std::vector<int64_t>& size, bool channels_last) {
  const int64_t c = size[1], h = size[2], w = size[3];
  const size_t elements = static_cast<size_t>(size[0] * c * h * w);
  Array made{dtype, size, {c * h * w, h * w, w, 1}, std::vector<unsigned char>(elements * bytes_of(dtype), 0xFF)};
  if (channels_last) made.stride = {c * h * w, 1, w * c, c};
  return made;
}

template <typename AnyView, typename AnyArray> AnyView view_of(AnyArray& array) {
  AnyView view{array.memory.data(), array.dtype, {}, {}};
  for (size_t d = 0; d < 4; ++d) {
    view.size[d] = array.size[d];
    view.stride[d] = array.stride[d];
  }
  return view;
}

inline void read_into(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) == bytes) return;
  std::fprintf(stderr, "the problems end in the middle of one\n");
  std::exit(2);
}

template <typename T> T read_number() {
  static_assert(sizeof(T) == 8, "numbers are int64_t or double");
  T number;
  read_into(&number, sizeof number);
  return number;
}

inline Array read_array() {
  Array array{static_cast<DType>(read_number<int64_t>()), {}, {}, {}};
  const int64_t rank = read_number<int64_t>();
  int64_t bytes = static_cast<int64_t>(bytes_of(array.dtype)), last = 0;
  for (std::vector<int64_t>* const numbers : {&array.size, &array.stride}) {
    for (int64_t d = 0; d < rank; ++d) numbers->push_back(read_number<int64_t>());
  }
  for (size_t d = 0; d < array.size.size(); ++d) {
    if (array.size[d] == 0) return array;
    last += (array.size[d] - 1) * array.stride[d];
  }
  array.memory = std::vector<unsigned char>(static_cast<size_t>((last + 1) * bytes));
  read_into(array.memory.data(), array.memory.size());
  return array;
}

inline void write_number(int64_t number) { std::fwrite(&number, sizeof number, 1, stdout); }

inline void write_array(const Array& array) {
  write_number(static_cast<int64_t>(array.dtype));
  write_number(static_cast<int64_t>(array.size.size()));
  for (int64_t size : array.size) write_number(size);
  for (int64_t stride : array.stride) write_number(stride);
  if (!array.empty()) std::fwrite(array.memory.data(), 1, array.memory.size(), stdout);
}

// Runs work(t) in so many threads.
inline void in_threads(int64_t threads, const std::function<void(int64_t)>& work) {
  std::vector<std::thread> pool;
  for (int64_t t = 0; t < threads; ++t) pool.emplace_back([&, t] { work(t); });
  for (std::thread& thread : pool) thread.join();
}

// Threads as a call of the kernels wants them (impl/csrc/roi_align/cpu/call.h): so many, whatever the work is worth.
struct StdThreads {
  int64_t threads;
  bool race;  // every thread is given all units, or all of the range

  int64_t count() const { return threads; }

  void share(int64_t units, int64_t, const std::function<void(Units*)>& work) const {
    Units shared{units};
    in_threads(threads, [&](int64_t) {
      Units own{units};
      work(race ? &own : &shared);
    });
  }

  void run(int64_t count, int64_t, const std::function<void(int64_t, int64_t)>& work) const {
    in_threads(threads,
               [&](int64_t t) { work(race ? 0 : count * t / threads, race ? count : count * (t + 1) / threads); });
  }

  // What the kernels read is always made without a race.
  void prepare(int64_t count, int64_t elements, const std::function<void(int64_t, int64_t)>& work) const {
    StdThreads{threads, false}.run(count, elements, work);
  }

  bool is_fresh(const View&) const { return false; }
};

// What a driver does: `read` reads a problem, `results` solves it on these threads.
template <typename Problem>
int compare_threads(int argc, char** argv, Problem (*read)(),
                    std::vector<Array> (*results)(const Problem&, const StdThreads&)) {
  const bool race = argc > 1 && std::string(argv[1]) == "race";
  for (int64_t left = read_number<int64_t>(); left > 0; --left) {
    const Problem problem = read();
    const std::vector<Array> alone = results(problem, {1, false});
    for (const int64_t threads : {2, 4, 7}) {
      const std::vector<Array> together = results(problem, {threads, race});
      for (size_t k = 0; k < alone.size(); ++k) {
        if (together[k].memory == alone[k].memory) continue;
        std::fprintf(stderr, "result %d: %d threads give other bits than one\n", static_cast<int>(k),
                     static_cast<int>(threads));
        return 1;
      }
    }
    write_number(static_cast<int64_t>(alone.size()));
    for (const Array& array : alone) write_array(array);
    std::fflush(stdout);  // so the output tells which problem a sanitizer stops at
  }
  return 0;
}

}  // namespace
