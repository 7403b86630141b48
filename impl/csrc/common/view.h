// Images, maps and crops as the kernels see them: plain structs and pointers, so that a kernel can be built, tested and
// sanitised without torch.

#pragma once

#include <algorithm>
#include <cstdint>

namespace roi_align {

enum class DType : int8_t { kFloat32, kFloat64, kInt32, kInt64, kFloat16, kBFloat16 };

// Four dimensions, N C H W for images and M C h w for crops; strides in elements, any strides.
template <typename Void> struct BasicView {
  Void* data;
  DType dtype;
  int64_t size[4];
  int64_t stride[4];
};
using View = BasicView<void>;
using ConstView = BasicView<const void>;

// Calls work(T()) with the type of sums or of the edges of boxes: double for kFloat64, else float. The kernels that are
// compiled for each instruction set (cpu/isa.h) must not use it: it is compiled for the portable one.
template <typename Work> auto with_float(DType dtype, const Work& work) {
  return dtype == DType::kFloat64 ? work(double()) : work(float());
}

template <typename A, typename B> bool same_size(const BasicView<A>& a, const BasicView<B>& b) {
  return std::equal(a.size, a.size + 4, b.size);
}

template <typename Void> int64_t elements(const BasicView<Void>& view) {
  return view.size[0] * view.size[1] * view.size[2] * view.size[3];
}

// Whether channels are adjacent in memory.
template <typename Void> bool channels_innermost(const BasicView<Void>& view) {
  return view.size[1] > 1 && view.stride[1] == 1 && (view.size[2] > 1 || view.size[3] > 1);
}

}  // namespace roi_align
