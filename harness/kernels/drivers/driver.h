// What the drivers share: arrays as NumPy describes them in, a message out if something failed.

#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "crop_and_resize/kernels.h"

// Up to four dimensions; strides in elements. arrays.py has the same fields.
struct Array {
  void* data;
  const char* dtype;
  int64_t size[4];
  int64_t stride[4];
};

namespace roi_align {

inline DType dtype_of(const Array& array) {
  const std::string name = array.dtype;
  if (name == "float16") return DType::kFloat16;
  if (name == "bfloat16") return DType::kBFloat16;
  if (name == "float32") return DType::kFloat32;
  if (name == "float64") return DType::kFloat64;
  if (name == "int32") return DType::kInt32;
  if (name == "int64") return DType::kInt64;
  throw std::invalid_argument("The kernels take no arrays of " + name + ".");
}

template <typename AnyView> AnyView view_of(const Array& array) {
  AnyView view{array.data, dtype_of(array), {}, {}};
  for (int d = 0; d < 4; ++d) {
    view.size[d] = array.size[d];
    view.stride[d] = array.stride[d];
  }
  return view;
}

// Memory of a GPU, or of what stands in for one, for as long as a call takes. It holds what was left in it: nothing may
// be read that has not been written.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) {
    if (cudaMalloc(&data_, static_cast<size_t>(bytes)) != cudaSuccess) throw std::bad_alloc();
  }
  ~Scratch() { cudaFree(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

template <typename Work> const char* attempt(const Work& work) {
  static std::string message;
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace roi_align
