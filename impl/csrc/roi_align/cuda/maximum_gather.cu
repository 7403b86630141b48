// The gradient of roi_align's maximum in its maps on CUDA, gathered tile by tile as the mean's is.
//
// A warp owns a tile in 32 channels, a lane a channel, and keeps its sums in shared memory: which pixels a bin sends to
// depends on the channel. Every tile that a bin may reach looks for its largest sample again.

#include "roi_align/cuda/largest.h"
#include "roi_align/cuda/tiles.h"

namespace roi_align::cuda {
namespace {

template <typename Acc> struct Shared {
  Listed listed;
  Acc sums[kTileWarps][kTileHigh<Acc> * kTileWide][kPitch];
};

// A lane's sums, and the pixels that they are of.
template <typename Acc> struct LaneSums {
  Acc (*sums)[kPitch];
  int lane;
  int64_t top, left;

  __device__ __forceinline__ void add(int64_t y, int64_t x, Acc value) const {
    y -= top;
    x -= left;
    if (y >= 0 && y < kTileHigh<Acc> && x >= 0 && x < kTileWide) sums[y * kTileWide + x][lane] += value;
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
  constexpr int high = kTileHigh<Acc>, wide = kTileWide;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int64_t unit = blockIdx.x; unit < tiles.units; unit += gridDim.x) {
    if (threadIdx.x == 0) shared.listed.tile = tile_of<high, wide>(tiles, maps, unit);
    __syncthreads();
    const Tile& tile = shared.listed.tile;
    const View& map = maps.map[tile.level];
    const Channels channels = channels_of(tile, map);
    const ConstView& of = features.map[tile.level];
    const LaneSums<Acc> sums = {shared.sums[warp], lane, tile.top, tile.left};
    for (int pixel = 0; pixel < high * wide; ++pixel) sums.sums[pixel][lane] = Acc(0);
    for_each_listing<high, wide>(shared.listed, scratch, pools, map, [&](int total) {
      for (int which = 0; lane < channels.count && which < total; ++which) {
        const Entry& entry = shared.listed.entry(which);
        const RoiBox& box = scratch.boxes[entry.row];
        const Plane<T> plane = plane_of<T>(of, tile.image, channels.first + lane);
        const T* const crop =
            static_cast<const T*>(grad.data) + entry.row * grad.stride[0] + (channels.first + lane) * grad.stride[1];
        for (int32_t i = entry.y.begin; i < entry.y.end; ++i) {
          for (int32_t j = entry.x.begin; j < entry.x.end; ++j) {
            on_samples(box, is_wide(pools), i, j, of, [&](const auto& y, const auto& x) {
              const Largest<Acc> best = largest_of<Acc>(y, x, plane);
              if (!best.inside) return;
              sums.add_sample(y.template tap<Acc>(best.y), x.template tap<Acc>(best.x),
                              widen(crop[i * grad.stride[2] + j * grad.stride[3]]));
            });
          }
        }
      }
    });
    // A lane's channel is its own: no other reads its sums.
    T* const base = static_cast<T*>(map.data) + tile.image * map.stride[0] + (channels.first + lane) * map.stride[1];
    for (int pixel = 0; lane < channels.count && pixel < kTileHigh<Acc> * kTileWide; ++pixel) {
      const int64_t y = tile.top + pixel / kTileWide, x = tile.left + pixel % kTileWide;
      if (y < map.size[2] && x < map.size[3]) {
        base[y * map.stride[2] + x * map.stride[3]] = narrow<T>(sums.sums[pixel][lane]);
      }
    }
    __syncthreads();  // the tile may still be read
  }
}

}  // namespace

void roi_max_grad_maps(const ConstView& grad_crops, const ConstMaps& maps, const Pools& pools, const Maps& grad_maps,
                       void* scratch_memory, cudaStream_t stream) {
  with_image_type(grad_crops.dtype, [&](auto type) {
    using T = decltype(type);
    using Acc = Accumulate<T>;
    constexpr int high = kTileHigh<Acc>, wide = kTileWide;
    const RoiScratch scratch = roi_scratch_at(scratch_memory, grad_maps, pools.rois.count, high, wide);
    const Tiles tiles = plan_tiles(grad_maps, high, wide);
    find_reach(pools, grad_maps, high, wide, scratch, stream);
    launch(&largest_gather_kernel<T>, tiles.units, tiles.threads, static_cast<int64_t>(sizeof(Shared<Acc>)), stream,
           grad_crops, maps, pools, grad_maps, scratch, tiles);
  });
}

}  // namespace roi_align::cuda
