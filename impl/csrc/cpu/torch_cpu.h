// The parts that the bindings of the CPU kernels share: allocation of results, conversion of half types and integers,
// and units of work on torch's threads.

#pragma once

#include "common/torch_tensors.h"
#include "cpu/cut.h"
#include "cpu/isa.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace roi_align {
namespace {

// A large result is fresh memory, and the operating system maps it page by page as it is first written: with pages of
// 4 KiB that takes longer than computing the result. Where the system lets a program choose, this requests large pages.
// The system may refuse; nothing depends on that.
inline void advise_large_pages(const Tensor& tensor) {
#if defined(__linux__)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const uintptr_t data = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  const uintptr_t begin = (data + kPage - 1) / kPage * kPage;
  const uintptr_t end = (data + static_cast<uintptr_t>(tensor.numel()) * tensor.element_size()) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)tensor;
#endif
}

// A fresh result, on large pages if the system grants them.
inline Tensor new_result(const Tensor& like, const Shape& shape, bool channels_last) {
  const Tensor result = new_tensor(like, shape, channels_last);
  advise_large_pages(result);
  return result;
}

// The kernels interpolate and sum in float32: images and crops of a half type are widened first, which is exact, and
// the result is rounded once.
inline Tensor widen(const Tensor& tensor) {
  return is_half(tensor) || is_integer(tensor) ? torch::stable::to(tensor, ScalarType::Float) : tensor;
}

inline Tensor round_to_type_of(const Tensor& result, const Tensor& like) {
  return is_half(like) ? torch::stable::to(result, like.scalar_type()) : result;
}

// torch's threads, with the interface that a call of the kernels takes (roi_align/cpu/call.h).
struct TorchThreads {
  // Enough elements that the cost of handing them to another thread is small.
  static constexpr int64_t kElementsPerTask = 16384;

  int64_t count() const { return torch::stable::get_num_threads(); }

  // Runs work on as many threads as the elements are worth; the threads share the units.
  template <typename Work> void share(int64_t units, int64_t elements, const Work& work) const {
    kernels();  // its exception must be thrown here, not in a thread
    Units shared{units};
    const int64_t threads = std::min({count(), divide_up(elements, kElementsPerTask), units});
    torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) { work(&shared); });
  }

  template <typename Work> void run(int64_t units, int64_t elements, const Work& work) const {
    kernels();  // its exception must be thrown here, not in a thread
    const int64_t per_unit = std::max<int64_t>(1, elements / std::max<int64_t>(1, units));
    torch::stable::parallel_for(0, units, std::max<int64_t>(1, kElementsPerTask / per_unit), work);
  }

  template <typename Work> void prepare(int64_t units, int64_t elements, const Work& work) const {
    run(units, elements, work);
  }

  // Judged by the page in the middle. If the system does not say, the memory counts as mapped.
  bool is_fresh(const View& result) const {
#if defined(__linux__)
    const uintptr_t middle = reinterpret_cast<uintptr_t>(result.data) +
                             static_cast<uintptr_t>(elements(result) * element_bytes(result.dtype)) / 2;
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    unsigned char is_there = 1;
    return mincore(reinterpret_cast<void*>(middle / page * page), 1, &is_there) == 0 && (is_there & 1) == 0;
#else
    (void)result;
    return false;
#endif
  }
};

}  // namespace
}  // namespace roi_align
