// What a large result costs before a kernel has computed anything: two threads fill memory that was kept, or that the
// system maps for them, with plain stores and with stores past the caches. docs/performance.md has the figures.
//
// fresh_memory [MEGABYTES [ROUNDS]]: prints the least and the median of the rounds in ms; the rows take turns.

#include <emmintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = size_t{2} << 20;
constexpr int kPopulate = 23;  // MADV_POPULATE_WRITE, which older headers lack

// Memory of whole large pages, or of pages of 4 KiB.
class Memory {
 public:
  Memory(size_t bytes, bool large) : bytes_(bytes + kPage) {
    block_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block_ == MAP_FAILED) std::abort();
    if (large) madvise(block_, bytes_, MADV_HUGEPAGE);
  }
  ~Memory() { munmap(block_, bytes_); }
  Memory(const Memory&) = delete;

  char* data() const { return reinterpret_cast<char*>((reinterpret_cast<size_t>(block_) + kPage - 1) / kPage * kPage); }

 private:
  size_t bytes_;
  void* block_;
};

using Work = std::function<void(char* begin, size_t bytes)>;

void plain(char* begin, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 16) _mm_store_si128(reinterpret_cast<__m128i*>(begin + i), _mm_set1_epi8(1));
}

void past_caches(char* begin, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 16) _mm_stream_si128(reinterpret_cast<__m128i*>(begin + i), _mm_set1_epi8(1));
  _mm_sfence();
}

void one_byte_a_page(char* begin, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4096) *static_cast<volatile char*>(begin + i) = 1;
}

void map_first(char* begin, size_t bytes) { madvise(begin, bytes, kPopulate); }

// Each of two threads does its half.
void in_halves(const Work& work, char* data, size_t bytes) {
  const size_t half = bytes / kPage / 2 * kPage;
  std::thread other([&] { work(data + half, bytes - half); });
  work(data, half);
  other.join();
}

struct Row {
  std::string name;
  std::function<void()> fill;
  std::vector<double> times;
};

}  // namespace

int main(int count, char** arguments) {
  const size_t bytes = std::max<size_t>(2, (count > 1 ? std::atoi(arguments[1]) : 96) / 2) * kPage;
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 21;
  const Memory kept(bytes, true);
  plain(kept.data(), bytes);
  const auto keep = [&](const Work& work) { return [=, &kept] { in_halves(work, kept.data(), bytes); }; };
  const auto renew = [&](bool large, std::vector<Work> steps) {
    return [=] {
      const Memory fresh(bytes, large);
      for (const Work& step : steps) in_halves(step, fresh.data(), bytes);
    };
  };
  std::vector<Row> rows = {
      {"kept, past the caches", keep(past_caches), {}},
      {"kept, plain", keep(plain), {}},
      {"fresh, past the caches", renew(true, {past_caches}), {}},
      {"fresh, plain", renew(true, {plain}), {}},
      {"fresh, all mapped first, past the caches", renew(true, {map_first, past_caches}), {}},
      {"fresh, all mapped first, plain", renew(true, {map_first, plain}), {}},
      {"fresh, one byte a page", renew(true, {one_byte_a_page}), {}},
      {"fresh on pages of 4 KiB, past the caches", renew(false, {past_caches}), {}},
  };
  for (int round = 0; round < rounds; ++round) {
    for (Row& row : rows) {
      const auto begin = std::chrono::steady_clock::now();
      row.fill();
      row.times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
  }
  for (Row& row : rows) {
    std::sort(row.times.begin(), row.times.end());
    std::printf("%-42s %8.2f %8.2f\n", row.name.c_str(), row.times.front(), row.times[row.times.size() / 2]);
  }
}
