// Selects the kernels of the best instruction set that this machine runs, once per process.
//
// ROI_ALIGN_CPU=portable, avx2 or avx512 selects one set, for comparisons and measurements: all give the same bits.

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

const Kernels* select() {
  const Kernels* const fastest = best();
  const char* const name = std::getenv("ROI_ALIGN_CPU");
  if (name == nullptr || *name == '\0') return fastest;
  // A machine that runs one of these runs all sets before it.
  const Kernels* const candidates[] = {
      &portable::kKernels,
#if defined(__x86_64__)
      &avx2::kKernels,
      &avx512::kKernels,
#endif
  };
  std::string names;
  for (const Kernels* kernels : candidates) {
    if (std::string(name) == kernels->name) return kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    if (kernels == fastest) break;
  }
  throw std::invalid_argument("ROI_ALIGN_CPU is '" + std::string(name) + "', but this machine runs " + names + ".");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels* const selection = select();
  return *selection;
}

}  // namespace roi_align
