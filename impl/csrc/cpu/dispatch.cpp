// Picks the kernels that this machine can run, once.
//
// ROI_ALIGN_CPU=portable, avx2 or avx512 asks for one set, to compare or to measure: all give the same bits.

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cpu/isa.h"

namespace roi_align {
namespace {

const Kernels* best() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return &avx512::kKernels;
  }
  if (__builtin_cpu_supports("avx2")) return &avx2::kKernels;
#endif
  return &portable::kKernels;
}

const Kernels* chosen() {
  const Kernels* const fastest = best();
  const char* const wanted = std::getenv("ROI_ALIGN_CPU");
  if (wanted == nullptr || *wanted == '\0') return fastest;
  // A machine that runs one of these runs all that stand before it.
  const Kernels* const known[] = {
      &portable::kKernels,
#if defined(__x86_64__)
      &avx2::kKernels,
      &avx512::kKernels,
#endif
  };
  std::string names;
  for (const Kernels* kernels : known) {
    if (std::string(wanted) == kernels->name) return kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    if (kernels == fastest) break;
  }
  throw std::invalid_argument("ROI_ALIGN_CPU is '" + std::string(wanted) + "', but this machine runs " + names + ".");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels* const kept = chosen();
  return *kept;
}

}  // namespace roi_align
