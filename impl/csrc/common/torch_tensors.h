// Conversions between torch's tensors and the kernels' plain structs, for the bindings of both devices.
//
// Built on the LibTorch stable ABI, so that one binary serves many releases of torch. impl/roi_align/_checks.py reports
// bad arguments to users, in full sentences and on every device. The checks here keep memory safe when a program calls
// torch.ops.roi_align directly, and find faults that only the data show.

#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/view.h"

namespace roi_align {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Shape = std::array<int64_t, 4>;

// A std::bad_alloc with a message of its own; it arrives in Python as a MemoryError.
class CannotAllocate : public std::bad_alloc {
 public:
  explicit CannotAllocate(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

inline void check(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(std::string("roi_align: ") + message);
}

inline DType dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return DType::kFloat32;
    case ScalarType::Double: return DType::kFloat64;
    case ScalarType::Int: return DType::kInt32;
    case ScalarType::Long: return DType::kInt64;
    case ScalarType::Half: return DType::kFloat16;
    case ScalarType::BFloat16: return DType::kBFloat16;
    default: throw std::invalid_argument("roi_align: a tensor has a dtype that no kernel takes");
  }
}

inline bool is_index(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64; }

inline bool is_half(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Half || tensor.scalar_type() == ScalarType::BFloat16;
}

// Whether an image holds integers: its pixels are read as float32, as in TensorFlow, and its crops are float32.
inline bool is_integer(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Byte:
    case ScalarType::Char:
    case ScalarType::UInt16:
    case ScalarType::Short:
    case ScalarType::Int:
    case ScalarType::Long: return true;
    default: return false;
  }
}

// The dtype of an image's crops.
inline ScalarType output_type(const Tensor& image) {
  return is_integer(image) ? ScalarType::Float : image.scalar_type();
}

inline bool channels_innermost(const Tensor& image) {
  check(image.dim() == 4, "images and crops have four dimensions");
  return image.size(1) > 1 && image.stride(1) == 1 && (image.size(2) > 1 || image.size(3) > 1);
}

template <typename AnyView> AnyView view_of(const Tensor& tensor, decltype(AnyView::data) data) {
  check(tensor.dim() == 4, "images and crops have four dimensions");
  AnyView view{data, dtype_of(tensor), {}, {}};
  for (int64_t d = 0; d < 4; ++d) {
    view.size[d] = tensor.size(d);
    view.stride[d] = tensor.stride(d);
  }
  check(!is_index(view.dtype), "images and crops hold no integers here");
  return view;
}

inline ConstView input_view(const Tensor& tensor) { return view_of<ConstView>(tensor, tensor.const_data_ptr()); }
inline View output_view(const Tensor& tensor) { return view_of<View>(tensor, tensor.mutable_data_ptr()); }

// IndexError for the first row with a bad index. `index` says where, like "box_indices[3] is 7"; `images` is N.
[[noreturn]] inline void throw_bad_index(const std::string& index, const char* input, int64_t images) {
  throw std::out_of_range(index + ", but the " + input + " has N = " + std::to_string(images) +
                          ": an index must be a whole number, at least 0 and less than N.");
}

// ValueError for the first box with an edge or a sample position that is not finite.
[[noreturn]] inline void throw_not_finite(int64_t row) {
  throw std::invalid_argument("boxes[" + std::to_string(row) +
                              "] has an edge or leads to a sample position that is not finite; without "
                              "validate=True its samples count as outside of the image.");
}

template <size_t dims> std::string text(const std::array<int64_t, dims>& shape) {
  std::string sizes;
  for (int64_t size : shape) sizes += (sizes.empty() ? "(" : ", ") + std::to_string(size);
  return sizes + ")";
}

inline int32_t torch_dtype(const Tensor& tensor) {
  int32_t dtype = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor.get(), &dtype));
  return dtype;
}

// MemoryError on the CPU. On a device callers catch torch's own error, but the stable ABI returns an error code only
// and drops the exception. So this is a RuntimeError; _library.py reads the device and the bytes from its message, and
// repeats the allocation from Python to get torch's own exception.
[[noreturn]] inline void throw_not_allocated(int32_t device_type, int32_t device_index, const std::string& what,
                                             int64_t bytes) {
  if (device_type == aoti_torch_device_type_cuda()) {
    throw std::runtime_error("roi_align: torch gave no memory on cuda:" + std::to_string(device_index) + " for a " +
                             what + "; it needs " + std::to_string(bytes) + " bytes.");
  }
  throw CannotAllocate("A " + what + " cannot be allocated; it needs " + std::to_string(bytes) +
                       " bytes. Ask for fewer boxes or a smaller crop_size.");
}

template <size_t dims> int64_t bytes_of(const std::array<int64_t, dims>& shape, int64_t element_bytes) {
  int64_t bytes = element_bytes;
  bool overflows = false;
  for (int64_t size : shape) overflows |= __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
  if (!overflows) return bytes;
  throw CannotAllocate("A result of shape " + text(shape) +
                       " cannot be allocated: its size in bytes does not fit 64 bits. Ask for fewer boxes or a "
                       "smaller crop_size.");
}

// An uninitialised tensor on a device; `dtype` is torch's code. Under torch.use_deterministic_algorithms(True) torch
// fills fresh tensors with NaN: this one too on CUDA, where the stable ABI has no allocation without that, but not on
// the CPU.
template <size_t dims>
Tensor new_tensor_on(int32_t device_type, int32_t device_index, const std::array<int64_t, dims>& shape,
                     const std::array<int64_t, dims>& strides, int32_t dtype, int64_t bytes) {
  AtenTensorHandle handle = nullptr;
  aoti_torch_empty_strided(dims, shape.data(), strides.data(), dtype, device_type, device_index, &handle);
  if (handle == nullptr) throw_not_allocated(device_type, device_index, "result of shape " + text(shape), bytes);
  return Tensor(handle);
}

struct DeviceOf {
  explicit DeviceOf(const Tensor& tensor) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &type));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(tensor.get(), &index));
  }

  int32_t type = 0, index = 0;
};

// A dense tensor on the device of `like`, with channels innermost if `channels_last`.
inline Tensor new_tensor(const Tensor& like, const Shape& shape, bool channels_last, int32_t dtype,
                         int64_t element_bytes) {
  const int64_t bytes = bytes_of(shape, element_bytes);  // also refuses a shape whose strides do not fit 64 bits
  const int64_t c = std::max<int64_t>(shape[1], 1), h = std::max<int64_t>(shape[2], 1),
                w = std::max<int64_t>(shape[3], 1);
  const Shape strides = channels_last ? Shape{h * w * c, 1, w * c, c} : Shape{c * h * w, h * w, w, 1};
  const DeviceOf device(like);
  return new_tensor_on(device.type, device.index, shape, strides, dtype, bytes);
}

// The same with the dtype of `like`.
inline Tensor new_tensor(const Tensor& like, const Shape& shape, bool channels_last) {
  return new_tensor(like, shape, channels_last, torch_dtype(like), static_cast<int64_t>(like.element_size()));
}

// The box gradient: a tensor with the rows, the dtype and the device of `boxes`.
inline Tensor new_rows(const Tensor& boxes, int64_t columns) {
  const DeviceOf device(boxes);
  const std::array<int64_t, 2> shape = {boxes.size(0), columns}, strides = {columns, 1};
  return new_tensor_on(device.type, device.index, shape, strides, torch_dtype(boxes),
                       bytes_of(shape, static_cast<int64_t>(boxes.element_size())));
}

}  // namespace
}  // namespace roi_align
