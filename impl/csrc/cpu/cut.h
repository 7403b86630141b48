// The constants by which both operators divide work into units.

#pragma once

#include <cstdint>

#include "common/view.h"

namespace roi_align {

// A turned block of planes should stay in the last-level cache while the boxes pass over it.
constexpr int64_t kLargestBlockBytes = int64_t{32} << 20;
// Units per thread, so that a thread with small units can take more of them.
constexpr int64_t kUnitsAThread = 4;

constexpr int64_t element_bytes(DType dtype) { return dtype == DType::kFloat64 ? 8 : 4; }

// Reading a sample from scattered planes costs more than reading it from a turned block; turning a pixel costs about a
// quarter of that difference.
constexpr bool worth_turning(int64_t samples, int64_t pixels) { return 4 * samples >= pixels; }

}  // namespace roi_align
