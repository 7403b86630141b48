// Which boxes reach a tile, as bits: found without looking at the boxes that do not.
//
// Every row of tiles, every column of tiles and every image has a vector of one bit a box. A box reaches a tile if its
// bit is set in all three, so a thread asks for 32 boxes with three loads, and the order of bits is the order of boxes.
// The vectors take (rows + columns + images) / 8 bytes a box, however many tiles a box reaches.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

constexpr int kBitsOfWord = 32;

// Tiles of a gradient, in pixels; sums of doubles take twice the room. Where there would be so few warps that they do
// not fill a GPU, tiles are cut smaller.
template <typename Acc> constexpr int kTileHigh = sizeof(Acc) == 8 ? 4 : 8;
constexpr int kTileWide = 8;
constexpr int kSmallTile = 4;
constexpr int64_t kFewWarps = 1024;

struct BoxBits {
  uint32_t* data;  // vector after vector: of rows, of columns, of images
  int64_t words;   // of one vector
  int64_t rows, columns, images;

  __device__ __forceinline__ const uint32_t* vector(int64_t at) const { return data + at * words; }
};

// The tiles that a box reaches, first and last, on an axis; last < first if it reaches none.
struct Span {
  int64_t first, last;

  __device__ __forceinline__ bool holds(int64_t tile) const { return first <= tile && tile <= last; }
};

// The first i of begin <= i < end that passes, all after it passing too; `end` if none does.
template <typename Passes>
__device__ __forceinline__ int32_t first_that(int32_t begin, int32_t end, const Passes& passes) {
  while (begin < end) {
    const int32_t middle = begin + (end - begin) / 2;
    if (passes(middle)) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  return begin;
}

// Vectors of bits that a warp writes its word of; more are another warp's.
constexpr int64_t kVectorsAtOnce = 128;

inline int64_t sections_of(const BoxBits& bits) {
  return divide_up(bits.rows + bits.columns + bits.images, kVectorsAtOnce);
}

// Writes word `word` of the vectors of a section: a warp, each lane with a box of its own.
__device__ __forceinline__ void write_bits(const BoxBits& bits, int64_t word, int64_t section, const Span& rows,
                                           const Span& columns, int64_t image) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t vectors = bits.rows + bits.columns + bits.images, begin = section * kVectorsAtOnce;
  const int64_t end = begin + kVectorsAtOnce < vectors ? begin + kVectorsAtOnce : vectors;
  for (int64_t at = begin; at < end; ++at) {
    const int64_t column = at - bits.rows;
    const bool set = column < 0              ? rows.holds(at)
                     : column < bits.columns ? columns.holds(column)
                                             : image == column - bits.columns;
    const unsigned voted = __ballot_sync(kAllLanes, set);
    if (lane == 0) bits.data[at * bits.words + word] = voted;
  }
}

// A thread's 32 boxes: which of them reach the tile, and how many do so before them.
struct Candidates {
  unsigned bits;
  int before;
};

// The threads of a block take a word each from word `begin` on; `total` is how many boxes they have found together.
// `of_warp` has room for one number of each warp. Begins with votes of whole warps and ends with a barrier.
__device__ __forceinline__ Candidates find_candidates(const BoxBits& bits, int64_t begin, int64_t row, int64_t column,
                                                      int64_t image, int32_t* of_warp, int& total) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int64_t word = begin + thread;
  Candidates own = {0, 0};
  if (word < bits.words) {
    own.bits = bits.vector(row)[word] & bits.vector(bits.rows + column)[word] &
               bits.vector(bits.rows + bits.columns + image)[word];
  }
  const int count = __popc(own.bits);
  int sum = count;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int other = __shfl_up_sync(kAllLanes, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == kWarp - 1) of_warp[warp] = sum;
  __syncthreads();
  total = 0;
  own.before = sum - count;
  for (int other = 0; other < static_cast<int>(blockDim.x) / kWarp; ++other) {
    if (other < warp) own.before += of_warp[other];
    total += of_warp[other];
  }
  __syncthreads();
  return own;
}

// Lists those of the candidates that have done <= place < done + blockDim.x, counted from the first box of the block's
// words: a warp takes one word after the other, its lanes the boxes of that.
__device__ __forceinline__ void list_candidates(const Candidates& own, int done, int32_t* listed) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, threads = static_cast<int>(blockDim.x);
  unsigned words =
      __ballot_sync(kAllLanes, own.bits != 0 && own.before < done + threads && own.before + __popc(own.bits) > done);
  for (; words != 0; words &= words - 1) {
    const int from = __ffs(static_cast<int>(words)) - 1;
    const unsigned bits = __shfl_sync(kAllLanes, own.bits, from);
    const int place = __shfl_sync(kAllLanes, own.before, from) - done + __popc(bits & ((1u << lane) - 1u));
    if (bits >> lane & 1u && place >= 0 && place < threads) {
      listed[place] = (thread - lane + from) * kBitsOfWord + lane;
    }
  }
}

}  // namespace roi_align::cuda
