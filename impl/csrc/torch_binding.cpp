// The only file that knows torch: it turns tensors into the kernels' plain structs, makes the results and splits the
// work over torch's threads. Built on the LibTorch stable ABI, so that one binary serves many releases of torch.
//
// Users are told of bad arguments by impl/roi_align/functional.py, in full sentences and on every device. What is
// checked here keeps memory safe when somebody calls torch.ops.roi_align directly, and what only the data can tell.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

namespace roi_align {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Shape = std::array<int64_t, 4>;

// A std::bad_alloc that says what was asked for; it arrives in Python as a MemoryError.
class CannotAllocate : public std::bad_alloc {
 public:
  explicit CannotAllocate(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

void check(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(std::string("roi_align: ") + message);
}

DType dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return DType::kFloat32;
    case ScalarType::Double:
      return DType::kFloat64;
    case ScalarType::Int:
      return DType::kInt32;
    case ScalarType::Long:
      return DType::kInt64;
    default:
      throw std::invalid_argument("roi_align: a tensor has a dtype that no kernel takes");
  }
}

bool is_float(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kFloat64; }

template <typename AnyView>
AnyView view_of(const Tensor& tensor, decltype(AnyView::data) data) {
  check(tensor.dim() == 4, "images and crops have four dimensions");
  AnyView view{data, dtype_of(tensor), {}, {}};
  for (int64_t d = 0; d < 4; ++d) {
    view.size[d] = tensor.size(d);
    view.stride[d] = tensor.stride(d);
  }
  check(is_float(view.dtype), "images and crops are float32 or float64");
  return view;
}

ConstView input_view(const Tensor& tensor) { return view_of<ConstView>(tensor, tensor.const_data_ptr()); }
View output_view(const Tensor& tensor) { return view_of<View>(tensor, tensor.mutable_data_ptr()); }

BoxList box_list(const Tensor& boxes, const Tensor& box_indices, int64_t box_rule) {
  check(boxes.dim() == 2 && boxes.size(1) == 4, "boxes have shape (M, 4)");
  check(box_indices.dim() == 1 && box_indices.size(0) == boxes.size(0), "box_indices has shape (M,)");
  check(box_rule >= 0 && box_rule <= 2, "the box rule is 0, 1 or 2");
  BoxList list{boxes.size(0),
               boxes.const_data_ptr(),
               dtype_of(boxes),
               {boxes.stride(0), boxes.stride(1)},
               box_indices.const_data_ptr(),
               dtype_of(box_indices),
               box_indices.stride(0),
               static_cast<BoxRule>(box_rule)};
  check(is_float(list.edge_dtype), "boxes are float32 or float64");
  check(!is_float(list.index_dtype), "box_indices are int32 or int64");
  return list;
}

Method method_of(int64_t method) {
  check(method == 0 || method == 1, "the method is 0 or 1");
  return static_cast<Method>(method);
}

void check_indices(const BoxList& boxes, int64_t images) {
  const int64_t bad = first_bad_index(boxes, images);
  if (bad < 0) return;
  throw std::out_of_range("box_indices[" + std::to_string(bad) + "] is " + std::to_string(image_index(boxes, bad)) +
                          ", but the image has N = " + std::to_string(images) +
                          ": an index must be at least 0 and less than N.");
}

std::string text(const Shape& shape) {
  std::string joined;
  for (int64_t size : shape) joined += (joined.empty() ? "(" : ", ") + std::to_string(size);
  return joined + ")";
}

// A large result is fresh memory, and the kernel of the operating system hands it out page by page as it is first
// written: with pages of 4 KiB that takes longer than computing what goes in. Large pages are asked for where the
// system leaves that to the program; it may refuse, and nothing depends on its answer.
void advise_large_pages(const Tensor& tensor) {
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

// An uninitialised tensor beside `like`, dense, with channels innermost if wanted.
Tensor new_tensor(const Tensor& like, const Shape& shape, bool channels_last) {
  int64_t bytes = static_cast<int64_t>(like.element_size());
  bool overflows = false;
  for (int64_t size : shape) overflows |= __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
  AtenTensorHandle handle = nullptr;
  if (!overflows) {
    const int64_t c = std::max<int64_t>(shape[1], 1), h = std::max<int64_t>(shape[2], 1),
                  w = std::max<int64_t>(shape[3], 1);
    const Shape strides = channels_last ? Shape{h * w * c, 1, w * c, c} : Shape{c * h * w, h * w, w, 1};
    int32_t dtype = 0, device_type = 0, device_index = 0;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
    aoti_torch_empty_strided(4, shape.data(), strides.data(), dtype, device_type, device_index, &handle);
  }
  if (handle == nullptr) {
    throw CannotAllocate("A result of shape " + text(shape) + " cannot be allocated" +
                         (overflows ? ": its size in bytes does not fit 64 bits." : "; it needs " +
                          std::to_string(bytes) + " bytes.") + " Ask for fewer boxes or a smaller crop_size.");
  }
  const Tensor result(handle);
  if (result.is_cpu()) advise_large_pages(result);
  return result;
}

// Enough elements that handing them to another thread costs less than working on them here.
constexpr int64_t kElementsPerTask = 16384;

template <typename Work>
void run(const Plan& plan, int64_t elements, const Work& work) {
  cpu_kernels();  // a refusal is raised here, not from a thread
  const int64_t per_unit = std::max<int64_t>(1, elements / plan.units);
  torch::stable::parallel_for(0, plan.units, std::max<int64_t>(1, kElementsPerTask / per_unit), work);
}

Tensor crop_and_resize(const Tensor& image, const Tensor& boxes, const Tensor& box_indices, int64_t crop_height,
                       int64_t crop_width, int64_t method, double extrapolation_value, int64_t box_rule,
                       bool validate) {
  const ConstView image_view = input_view(image);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method how = method_of(method);
  check(image_view.size[2] > 0 && image_view.size[3] > 0, "the image has at least one row and one column");
  check(crop_height > 0 && crop_width > 0, "the crop size is positive");
  check_indices(list, image_view.size[0]);
  if (validate) {
    const int64_t bad = first_bad_box(list, image_view.size, crop_height, crop_width);
    if (bad >= 0) {
      throw std::invalid_argument("boxes[" + std::to_string(bad) +
                                  "] has an edge or leads to a sample position that is not finite; without "
                                  "validate=True it counts as outside of the image.");
    }
  }
  const Tensor crops = new_tensor(image, {list.count, image_view.size[1], crop_height, crop_width},
                                  channels_innermost(image_view));
  const View crops_view = output_view(crops);
  if (crops.numel() == 0) return crops;
  const Plan plan = plan_forward(image_view, list, crops_view, torch::stable::get_num_threads());
  run(plan, crops.numel(), [&](int64_t begin, int64_t end) {
    forward(image_view, list, how, extrapolation_value, crops_view, plan, begin, end);
  });
  return crops;
}

void check_crops(const ConstView& grad, const BoxList& boxes) {
  check(grad.size[0] == boxes.count, "the gradient has one crop for every box");
  check(grad.size[2] > 0 && grad.size[3] > 0, "the crop size is positive");
}

Tensor crop_and_resize_grad_image(const Tensor& grad, const Tensor& boxes, const Tensor& box_indices, int64_t images,
                                  int64_t height, int64_t width, bool channels_last, int64_t method,
                                  int64_t box_rule) {
  const ConstView grad_view = input_view(grad);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method how = method_of(method);
  check_crops(grad_view, list);
  check(images >= 0 && height > 0 && width > 0, "the image has at least one row and one column");
  check_indices(list, images);
  const Tensor result = new_tensor(grad, {images, grad_view.size[1], height, width}, channels_last);
  if (result.numel() == 0) return result;
  const View result_view = output_view(result);
  const Plan plan = plan_grad_image(grad_view, result_view, torch::stable::get_num_threads());
  run(plan, grad.numel() + result.numel(), [&](int64_t begin, int64_t end) {
    grad_image(grad_view, list, how, result_view, plan, begin, end);
  });
  return result;
}

Tensor crop_and_resize_grad_boxes(const Tensor& grad, const Tensor& image, const Tensor& boxes,
                                  const Tensor& box_indices, int64_t box_rule) {
  const ConstView grad_view = input_view(grad), image_view = input_view(image);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  check_crops(grad_view, list);
  check(grad_view.dtype == image_view.dtype, "the gradient has the dtype of the image");
  check(grad_view.size[1] == image_view.size[1], "the gradient has as many channels as the image");
  check(image_view.size[2] > 0 && image_view.size[3] > 0, "the image has at least one row and one column");
  check_indices(list, image_view.size[0]);
  Tensor result = torch::stable::new_empty(boxes, {list.count, 4});
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const Plan plan = plan_grad_boxes(grad_view, image_view, torch::stable::get_num_threads());
  std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * list.count * 4), 0.0);
  run(plan, grad.numel(), [&](int64_t begin, int64_t end) {
    grad_boxes(grad_view, image_view, list, partial.data(), plan, begin, end);
  });
  finish_grad_boxes(partial.data(), list, plan, result.mutable_data_ptr());
  return result;
}

// Which instruction set the kernels on the CPU are compiled for: "portable", "avx2" or "avx512".
std::string used_cpu_kernels() { return cpu_kernels(); }

}  // namespace

STABLE_TORCH_LIBRARY(roi_align, m) {
  m.def(
      "crop_and_resize(Tensor image, Tensor boxes, Tensor box_indices, SymInt crop_height, SymInt crop_width, "
      "int method, float extrapolation_value, int box_rule, bool validate) -> Tensor");
  m.def(
      "crop_and_resize_grad_image(Tensor grad, Tensor boxes, Tensor box_indices, SymInt images, SymInt height, "
      "SymInt width, bool channels_last, int method, int box_rule) -> Tensor");
  m.def("cpu_kernels() -> str");
  m.def(
      "crop_and_resize_grad_boxes(Tensor grad, Tensor image, Tensor boxes, Tensor box_indices, int box_rule) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CompositeExplicitAutograd, m) {
  m.impl("cpu_kernels", TORCH_BOX(&used_cpu_kernels));
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CPU, m) {
  m.impl("crop_and_resize", TORCH_BOX(&crop_and_resize));
  m.impl("crop_and_resize_grad_image", TORCH_BOX(&crop_and_resize_grad_image));
  m.impl("crop_and_resize_grad_boxes", TORCH_BOX(&crop_and_resize_grad_boxes));
}

}  // namespace roi_align
