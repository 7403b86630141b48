// Half types as they are stored, and their conversion to float32 and back: nothing is ever computed in them.
//
// A float32 holds every half exactly; the conversion back rounds once, to nearest, ties to even. On a device it is one
// instruction, on the host a few lines that need no compiler extension.

#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace roi_align {

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// The type that images of T are interpolated and summed in.
template <typename T> struct AccumulateOf {
  using type = float;
};
template <> struct AccumulateOf<double> {
  using type = double;
};
template <typename T> using Accumulate = typename AccumulateOf<T>::type;

namespace bits {

ROI_ALIGN_HOST_DEVICE inline uint32_t of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

ROI_ALIGN_HOST_DEVICE inline float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace bits

ROI_ALIGN_HOST_DEVICE inline float widen(float value) { return value; }
ROI_ALIGN_HOST_DEVICE inline double widen(double value) { return value; }

ROI_ALIGN_HOST_DEVICE inline float widen(BFloat16 value) {
  return bits::as_float(static_cast<uint32_t>(value.bits) << 16);
}

ROI_ALIGN_HOST_DEVICE inline float widen(Float16 value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16, magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return bits::as_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // A multiplication changes the exponent's bias from half's to float's, and normalises subnormals as well.
  const float scaled = bits::as_float(magnitude << 13) * 0x1p112f;
  return bits::as_float(sign | bits::of(scaled));
#endif
}

template <typename T> ROI_ALIGN_HOST_DEVICE T narrow(Accumulate<T> value);

template <> ROI_ALIGN_HOST_DEVICE inline float narrow<float>(float value) { return value; }

template <> ROI_ALIGN_HOST_DEVICE inline double narrow<double>(double value) { return value; }

template <> ROI_ALIGN_HOST_DEVICE inline BFloat16 narrow<BFloat16>(float value) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
  const uint32_t bits = bits::of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // NaN
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
#endif
}

template <> ROI_ALIGN_HOST_DEVICE inline Float16 narrow<Float16>(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#else
  const uint32_t bits = bits::of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {0x7fff};                                  // NaN
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 65520 and more round to infinity
  if (magnitude < 0x38800000u) {
    // Below half's smallest normal number: adding 0.5 makes float's own rounding drop the bits that a half lacks.
    const uint32_t rounded = bits::of(bits::as_float(magnitude) + 0.5f) - bits::of(0.5f);
    return {static_cast<uint16_t>(sign | rounded)};
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1);
  return {static_cast<uint16_t>(sign | rounded >> 13)};
#endif
}

}  // namespace roi_align
