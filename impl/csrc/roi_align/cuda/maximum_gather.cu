// The gradient of roi_align's maximum in its maps on CUDA, gathered tile by tile as the mean's is.
//
// A warp owns a tile in 32 channels, a lane a channel, and keeps its sums in shared memory: which pixels a bin sends to
// depends on the channel. The largest sample is found again in every tile that the bin may reach.

#include "roi_align/cuda/largest.h"
#include "roi_align/cuda/tiles.h"

namespace roi_align::cuda {
namespace {

template <typename Acc> struct Shared {
  Listed listed;
  Acc sums[kTileWarps][kTileRows<Acc> * kTileColumns][kPitch];
};

// A lane's sums, and the pixels that they are of.
template <typename Acc> struct LaneSums {
  Acc (*sums)[kPitch];
  int lane;
  int64_t top, left;

  __device__ __forceinline__ void add(int64_t y, int64_t x, Acc value) const {
    y -= top;
    x -= left;
    if (y >= 0 && y < kTileRows<Acc> && x >= 0 && x < kTileColumns) sums[y * kTileColumns + x][lane] += value;
  }
  __device__ __forceinline__ void add_column(const Tap<Acc>& y, int64_t x, Acc share) const {
    if (y.low == y.high) {
      add(y.low, x, share);
      return;
    }
    add(y.low, x, (Acc(1) - y.weight) * share);
    add(y.high, x, y.weight * share);
  }
  __device__ __forceinline__ void add_sample(const Tap<Acc>& y, const Tap<Acc>& x, Acc g) const {
    if (x.low == x.high) {
      add_column(y, x.low, g);
      return;
    }
    add_column(y, x.low, (Acc(1) - x.weight) * g);
    add_column(y, x.high, x.weight * g);
  }
};

template <typename T>
__global__ void __launch_bounds__(kTileWarps* kWarp, 3)
    largest_gather_kernel(ConstView grad, ConstMaps features, Pools pools, Maps maps, RoiScratch scratch, Tiles tiles) {
  using Acc = Accumulate<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared<Acc>& shared = *reinterpret_cast<Shared<Acc>*>(shared_memory);
  const Listed& listed = shared.listed;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int64_t unit = blockIdx.x; unit < tiles.units; unit += gridDim.x) {
    const Tile tile = tile_of(tiles, maps, kTileRows<Acc>, unit);
    const View& map = maps.map[tile.level];
    const LaneSums<Acc> sums = {shared.sums[warp], lane, tile.top, tile.left};
    for (int pixel = 0; pixel < kTileRows<Acc> * kTileColumns; ++pixel) sums.sums[pixel][lane] = Acc(0);
    const int64_t looks = int64_t{kLooksAt} * blockDim.x;
    for (int64_t begin = 0; begin < pools.rois.count; begin += looks) {
      const int total = list_boxes(shared.listed, scratch, begin, pools.rois.count, tile);
      for (int first = 0; first < total; first += kBatch) {
        const int count = total - first < kBatch ? total - first : kBatch;
        find_bins(shared.listed, scratch, pools, map, tile, kTileRows<Acc>, begin, first, count);
        for (int which = 0; lane < tile.channels && which < count; ++which) {
          const int64_t row = begin + listed.box[first + which];
          const RoiBox& box = scratch.boxes[row];
          const ConstView& of = features.map[tile.level];
          const Plane<T> plane = plane_of<T>(of, tile.image, tile.first_channel + lane);
          const T* const crop =
              static_cast<const T*>(grad.data) + row * grad.stride[0] + (tile.first_channel + lane) * grad.stride[1];
          for (int32_t i = listed.begin[which][0]; i < listed.end[which][0]; ++i) {
            for (int32_t j = listed.begin[which][1]; j < listed.end[which][1]; ++j) {
              on_samples(box, is_wide(pools), i, j, of, [&](const auto& y, const auto& x) {
                const Largest<Acc> best = largest_of<Acc>(y, x, plane);
                if (!best.inside) return;
                sums.add_sample(y.template tap<Acc>(best.y), x.template tap<Acc>(best.x),
                                widen(crop[i * grad.stride[2] + j * grad.stride[3]]));
              });
            }
          }
        }
      }
    }
    // A lane's channel is its own: nobody else reads its sums.
    T* const base =
        static_cast<T*>(map.data) + tile.image * map.stride[0] + (tile.first_channel + lane) * map.stride[1];
    for (int pixel = 0; lane < tile.channels && pixel < kTileRows<Acc> * kTileColumns; ++pixel) {
      const int64_t y = tile.top + pixel / kTileColumns, x = tile.left + pixel % kTileColumns;
      if (y < map.size[2] && x < map.size[3]) {
        base[y * map.stride[2] + x * map.stride[3]] = narrow<T>(sums.sums[pixel][lane]);
      }
    }
  }
}

}  // namespace

void roi_max_grad_maps(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, const Maps& grad_maps,
                       void* scratch_memory, cudaStream_t stream) {
  const RoiScratch scratch = roi_scratch_at(scratch_memory, pools.rois.count);
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    const Tiles tiles = plan_tiles(grad_maps, kTileRows<Acc>);
    find_reach(pools, grad_maps, kTileRows<Acc>, scratch, stream);
    launch(&largest_gather_kernel<T>, tiles.units, tiles.threads, static_cast<int64_t>(sizeof(Shared<Acc>)), stream,
           grad_crops, maps, pools, grad_maps, scratch, tiles);
  });
}

}  // namespace roi_align::cuda
