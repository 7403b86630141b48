// Symbols of newer C libraries, so that a library that is built beside one also runs on glibc 2.28: wheels name the
// oldest glibc that they run on, and a compiler takes the newest version of every symbol.

#include <features.h>

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

// libstdc++ reads it to count references without atomic operations (glibc 2.32). 0 means that there may be threads.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}

// glibc 2.29 has a new version of log2, which sets no errno. The values are the same.
#if defined(__x86_64__)
__asm__(".symver roi_align_log2,log2@GLIBC_2.2.5");
#else
__asm__(".symver roi_align_log2,log2@GLIBC_2.17");
#endif
extern "C" double roi_align_log2(double value) noexcept;
// Compilers know log2 as a function that every library sees, so this one has the name only in the object file.
extern "C" __attribute__((visibility("hidden"))) double hidden_log2(double value) noexcept __asm__("log2");
extern "C" double hidden_log2(double value) noexcept { return roi_align_log2(value); }

#endif
