// Adjacent channels, read and written 16 bytes at a time.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

// `count` adjacent channels, loaded and stored in one access.
template <typename T, int count> struct alignas(sizeof(T) * count) Vector {
  T lane[count];
};

template <typename T, int count> __device__ __forceinline__ Vector<T, count> load(const T* data) {
  return *reinterpret_cast<const Vector<T, count>*>(data);
}

template <typename T, int count> __device__ __forceinline__ void store(T* data, const Vector<T, count>& vector) {
  *reinterpret_cast<Vector<T, count>*>(data) = vector;
}

// Whether `vector` adjacent channels can be loaded and stored in one access.
template <typename AnyView> bool takes_vectors(const AnyView& view, int64_t vector, int64_t element_bytes) {
  return view.stride[1] == 1 && view.size[1] % vector == 0 && view.stride[0] % vector == 0 &&
         view.stride[2] % vector == 0 && view.stride[3] % vector == 0 &&
         reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(vector * element_bytes) == 0;
}

}  // namespace roi_align::cuda
