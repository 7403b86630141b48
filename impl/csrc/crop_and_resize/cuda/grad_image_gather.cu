// The gradient of the image on CUDA in a fixed order: each tile of it gathers what the boxes send there.
//
// A block owns a tile of up to 128 channels, a warp 32 of them, in shared memory (crop_and_resize/cuda/tile.h). It
// lists the boxes that reach the tile, in their order, and of each the samples that do; boxes whose samples miss the
// tile are left out before a warp looks at them. Taps are worked out once for all warps, a few boxes at a time; every
// warp then goes through those boxes, sample by sample, row by row, and adds to its four pixels in the CPU's order. So
// each pixel's sum is taken in the order box, y, x, top-left, top-right, bottom-left, bottom-right, whatever the cut,
// and has the CPU's bits. The gradient is written once, zeros included; there are no atomics.

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/cuda/tile.h"
#include "cuda/list.h"

namespace roi_align::cuda {
namespace {

// Boxes whose taps are kept at once, one for each warp to work out.
constexpr int kBatch = kWarps;

// The grid: tiles of all images, each in parts of up to 128 channels.
struct Cut {
  int64_t rows, columns;  // of tiles
  int64_t parts;
  int64_t units;
  int warps;  // of a block
};

Cut plan_cut(const View& image, int high, int wide) {
  const int64_t warps = divide_up(image.size[1], kWarp), rows = divide_up(image.size[2], high);
  const int64_t columns = divide_up(image.size[3], wide), parts = divide_up(warps, kWarps);
  return {rows, columns, parts, image.size[0] * rows * columns * parts,
          static_cast<int>(warps < kWarps ? warps : kWarps)};
}

// A box that reaches the tile, counted from the first one of its words, and the samples that do so.
struct Entry {
  int32_t box;
  Samples y, x;
};

// How far a block is with its entries: the first of the next few, and the first of its samples that are left.
struct Cursor {
  int32_t entry;
  int64_t sample;
};

// What all warps of a block share; behind it lie their tiles.
template <typename Acc> struct Shared {
  Place place;
  Cursor cursor;
  TileSample<Acc> samples[kBatch][kSamples<Acc>];
  int32_t sample_counts[kBatch];
  Entry entries[kGatherThreads];
  int32_t with_samples[kGatherThreads];  // places among the entries
  int32_t counts[kWarps];
  int32_t listed[kGatherThreads];
  int32_t many[kWarps];  // whether a warp's entries have one with more samples than are kept
};

template <int high, int wide> __device__ __forceinline__ Place place_of(const Cut& cut, int64_t unit) {
  const int64_t tile = divide(unit, cut.parts), part = unit - tile * cut.parts;
  const int64_t line = divide(tile, cut.columns), n = divide(line, cut.rows);
  const int64_t row = line - n * cut.rows, column = tile - line * cut.columns;
  return {n, row, column, row * high, column * wide, part * cut.warps * kWarp};
}

// Finds the samples of each listed box that reach the tile, a thread a box, and lists the boxes that have any; how many
// there are.
template <int high, int wide, typename Acc>
__device__ __forceinline__ int find_entries(Shared<Acc>& shared, const Scratch& scratch, const ConstView& grad_crops,
                                            const View& image, int64_t first_box, int count) {
  const Place& place = shared.place;
  const int thread = static_cast<int>(threadIdx.x);
  Entry entry = {0, {0, 0}, {0, 0}};
  if (thread < count) {
    entry.box = shared.listed[thread];
    const Axes axes = scratch.axes[first_box + entry.box];
    const auto reading = [&](const Axis<double>& in_doubles, int dimension, int64_t begin, int size) {
      return with_axis(in_doubles, scratch.wide, [&](const auto& axis) {
        return samples_reading(axis, static_cast<int32_t>(grad_crops.size[dimension]), begin, begin + size,
                               image.size[dimension]);
      });
    };
    entry.y = reading(axes.y, 2, place.top, high);
    entry.x = reading(axes.x, 3, place.left, wide);
  }
  const int rows = entry.y.end - entry.y.begin, columns = entry.x.end - entry.x.begin;
  const bool reaches = rows > 0 && columns > 0;
  shared.entries[thread] = entry;
  if (thread == 0) shared.cursor = {0, 0};
  const bool any = __any_sync(kAllLanes, reaches && int64_t{rows} * columns > kSamples<Acc>);
  if (thread % kWarp == 0) shared.many[thread / kWarp] = any;
  return list_in_order<1, kWarps>(shared.with_samples, shared.counts, static_cast<int>(blockDim.x), 0, count,
                                  [&](int64_t) { return reaches; });
}

// Works out samples of an entry, from one on, a lane a sample. Lanes beyond the last one take it again: its offset is
// one that may be read.
template <int high, int wide, typename Acc>
__device__ __forceinline__ void make_samples(Shared<Acc>& shared, int which, const Entry& entry, int64_t first,
                                             const Scratch& scratch, Method method, const ConstView& grad_crops,
                                             const View& image, int64_t first_box) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, columns = entry.x.end - entry.x.begin;
  const int64_t left = int64_t{entry.y.end - entry.y.begin} * columns - first;
  if (lane == 0) shared.sample_counts[which] = static_cast<int>(left < kSamples<Acc> ? left : kSamples<Acc>);
  if (lane >= kSamples<Acc>) return;
  const int64_t box = first_box + entry.box, at = first + (lane < left ? lane : left - 1);
  const int64_t row = divide(at, columns), y = entry.y.begin + row, x = entry.x.begin + (at - row * columns);
  const Axes axes = scratch.axes[box];
  Tap<Acc> tap_y = {0, 0, Acc(0)}, tap_x = {0, 0, Acc(0)};
  const bool inside = tap_on(axes.y, scratch.wide, y, method, image.size[2], tap_y) &&
                      tap_on(axes.x, scratch.wide, x, method, image.size[3], tap_x);
  shared.samples[which][lane] =
      tile_sample<high, wide>(inside, tap_y, tap_x, method, shared.place.top, shared.place.left,
                              box * grad_crops.stride[0] + y * grad_crops.stride[2] + x * grad_crops.stride[3]);
}

// Where the next few entries begin, or the rest of one that goes alone.
template <typename Acc> __device__ __forceinline__ Cursor after(const Cursor& at, int batch, const Entry& entry) {
  const int64_t sample = at.sample + kSamples<Acc>;
  const int64_t samples = int64_t{entry.y.end - entry.y.begin} * (entry.x.end - entry.x.begin);
  return sample < samples ? Cursor{at.entry, sample} : Cursor{at.entry + batch, 0};
}

// Five blocks are as many as shared memory has room for anywhere: registers need not be saved for a sixth.
template <typename T, int high, int wide, bool planes>
__global__ void __launch_bounds__(kGatherThreads, 5)
    gather_kernel(ConstView grad_crops, Method method, View image, Scratch scratch, Cut cut) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared<Acc>& shared = *reinterpret_cast<Shared<Acc>*>(shared_memory);
  const int threads = static_cast<int>(blockDim.x), lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = threads / kWarp;
  auto& tile = reinterpret_cast<WarpTile<Acc, high, wide>*>(shared_memory + sizeof(Shared<Acc>))[warp];
  for (int64_t unit = blockIdx.x; unit < cut.units; unit += gridDim.x) {
    if (threadIdx.x == 0) shared.place = place_of<high, wide>(cut, unit);
    __syncthreads();
    const int64_t first_channel = shared.place.first_channel + warp * kWarp, more = image.size[1] - first_channel;
    const int channels = static_cast<int>(more < kWarp ? more : kWarp);  // none or fewer if the warp has none
    const T* const crops = static_cast<const T*>(grad_crops.data) + first_channel * grad_crops.stride[1];
    clear(tile, lane);
    for (int64_t word = 0; word < scratch.bits.words; word += threads) {
      const int64_t first_box = word * kBitsOfWord;
      int candidates = 0;
      const Candidates own = find_candidates(scratch.bits, word, shared.place.row, shared.place.column,
                                             shared.place.image, shared.counts, candidates);
      for (int done = 0; done < candidates; done += threads) {
        list_candidates(own, done, shared.listed);
        __syncthreads();
        const int total = find_entries<high, wide>(shared, scratch, grad_crops, image, first_box,
                                                   candidates - done < threads ? candidates - done : threads);
        int32_t any_many = 0;
        for (int other = 0; other < warps; ++other) any_many |= shared.many[other];
        const int batch = any_many != 0 ? 1 : kBatch;  // an entry with more samples than are kept goes alone
        for (;;) {
          __syncthreads();  // the samples before these may still be read, and the cursor be written
          const Cursor at = shared.cursor;
          if (at.entry >= total) break;
          const int entries = total - at.entry < batch ? total - at.entry : batch;
          for (int which = warp; which < entries; which += warps) {
            make_samples<high, wide>(shared, which, shared.entries[shared.with_samples[at.entry + which]], at.sample,
                                     scratch, method, grad_crops, image, first_box);
          }
          __syncthreads();  // the samples are all there
          if (threadIdx.x == 0) shared.cursor = after<Acc>(at, batch, shared.entries[shared.with_samples[at.entry]]);
          if (channels <= 0) continue;
          for (int which = 0; which < entries; ++which) {
            add_samples<planes>(crops, grad_crops.stride[1], shared.samples[which], shared.sample_counts[which],
                                channels, lane, tile);
          }
        }
      }
    }
    if (channels > 0) write_tile<T, high, wide>(image, shared.place, first_channel, channels, lane, tile);
    __syncthreads();  // the place may still be read
  }
}

template <typename Acc> bool takes_small_tiles(const View& image) {
  const Cut cut = plan_cut(image, kTileHigh<Acc>, kTileWide);
  return cut.units * cut.warps < kFewWarps;
}

// The bits of all boxes for tiles of this size, behind the axes.
Scratch scratch_at(void* memory, const BoxList& boxes, const View& image, int high, int wide) {
  Axes* const axes = static_cast<Axes*>(memory);
  const BoxBits bits = {reinterpret_cast<uint32_t*>(axes + boxes.count), divide_up(boxes.count, kBitsOfWord),
                        divide_up(image.size[2], high), divide_up(image.size[3], wide), image.size[0]};
  return {axes, bits, boxes.edge_dtype == DType::kFloat64};
}

template <typename T, int high, int wide>
void gather(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& image, void* memory,
            cudaStream_t stream) {
  using Acc = Accumulate<T>;
  const Scratch scratch = scratch_at(memory, boxes, image, high, wide);
  if (boxes.count > 0) {
    const int64_t sections = sections_of(scratch.bits);
    launch(&reach_kernel, divide_up(scratch.bits.words * sections, kWarps), kGatherThreads, 0, stream, boxes, method,
           static_cast<int32_t>(grad_crops.size[2]), static_cast<int32_t>(grad_crops.size[3]), image, high, wide,
           sections, scratch);
  }
  const Cut cut = plan_cut(image, high, wide);
  const int64_t shared =
      static_cast<int64_t>(sizeof(Shared<Acc>)) + cut.warps * static_cast<int64_t>(sizeof(WarpTile<Acc, high, wide>));
  const auto kernel =
      grad_crops.stride[1] == 1 ? &gather_kernel<T, high, wide, false> : &gather_kernel<T, high, wide, true>;
  launch(kernel, cut.units, cut.warps * kWarp, shared, stream, grad_crops, method, image, scratch, cut);
}

}  // namespace

int64_t grad_image_gather_scratch(const View& grad_image, int64_t boxes) {
  // Bits for the smallest tiles, which have the most.
  const int64_t vectors =
      divide_up(grad_image.size[2], kSmallTile) + divide_up(grad_image.size[3], kSmallTile) + grad_image.size[0];
  return boxes * static_cast<int64_t>(sizeof(Axes)) +
         divide_up(boxes, kBitsOfWord) * vectors * static_cast<int64_t>(sizeof(uint32_t));
}

void grad_image_gather(const ConstView& grad_crops, const BoxList& boxes, Method method, const View& grad_image,
                       void* scratch, cudaStream_t stream) {
  if (grad_crops.size[2] > INT32_MAX || grad_crops.size[3] > INT32_MAX) {
    throw std::invalid_argument("roi_align: a crop of 2^31 or more samples a side has no gradient on CUDA");
  }
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    if (takes_small_tiles<Acc>(grad_image)) {
      gather<T, kSmallTile, kSmallTile>(grad_crops, boxes, method, grad_image, scratch, stream);
    } else {
      gather<T, kTileHigh<Acc>, kTileWide>(grad_crops, boxes, method, grad_image, scratch, stream);
    }
  });
}

}  // namespace roi_align::cuda
