// roi_align's maximum on the CPU: the largest of a bin's samples (largest.h).
//
// Here samples are taken one by one, as every other library takes them: for the gradients, which search for the largest
// sample again, since an index for every output would be as large as the output, and where channels do not fill
// vectors. Where they do, maximum.inl pools.

#include <algorithm>
#include <vector>

#include "roi_align/cpu/jobs.h"
#include "roi_align/cpu/samples.h"
#include "roi_align/largest.h"

namespace roi_align {
namespace {

// A plane of any strides.
template <typename Acc> struct Plane {
  Acc* data;
  int64_t row_stride, column_stride;

  Acc& at(int64_t y, int64_t x) const { return data[y * row_stride + x * column_stride]; }
};

template <typename Acc, typename AnyView> Plane<Acc> plane_of(const AnyView& view, int64_t n, int64_t c) {
  return {static_cast<Acc*>(view.data) + n * view.stride[0] + c * view.stride[1], view.stride[2], view.stride[3]};
}

template <typename Acc> const RoiTables<Acc>& tables_of(const RoiJob& job) {
  return *static_cast<const RoiTables<Acc>*>(job.tables);
}

template <typename Acc, typename AnyView>
Acc& crop_at(const AnyView& crops, int64_t row, int64_t c, int64_t i, int64_t j) {
  return static_cast<Acc*>(
      crops.data)[row * crops.stride[0] + c * crops.stride[1] + i * crops.stride[2] + j * crops.stride[3]];
}

// What differs from one pooling to the next, for the two types of edges and the two of pixels.
struct Forward {
  const std::vector<ConstView>& values;
  const View& crops;
  Part channels;

  template <typename T, typename Acc> void run(const RoiJob& job, int64_t begin, int64_t end) const {
    for (int64_t k = begin; k < end; ++k) {
      const RoiTable<Acc>& box = tables_of<Acc>(job).boxes[static_cast<size_t>(k)];
      const BoxSamples<Acc>& samples = tables_of<Acc>(job).samples[static_cast<size_t>(k)];
      const Level& level = (*job.levels)[static_cast<size_t>(box.level)];
      for (int64_t c = channels.begin; c < channels.end; ++c) {
        const Plane<const Acc> chooser = plane_of<const Acc>(level.map, box.image, c);
        const Plane<const Acc> plane = plane_of<const Acc>(values[static_cast<size_t>(box.level)], box.image, c);
        for (int64_t i = 0; i < job.rule.height; ++i) {
          for (int64_t j = 0; j < job.rule.width; ++j) {
            Acc& out = crop_at<Acc>(crops, box.row, c, i, j);
            const Largest<Acc> best = largest_of<Acc>(samples.y.of(i), samples.x.of(j), chooser);
            out = best.inside ? sample_at<Acc>(plane, samples.y.tap(i, best.y), samples.x.tap(j, best.x)) : Acc(0);
          }
        }
      }
    }
  }
};

struct GradMaps {
  const ConstView& grad;
  const std::vector<View>& maps;

  template <typename T, typename Acc> void run(const RoiJob& job, int64_t begin, int64_t end) const {
    const RoiTables<Acc>& tables = tables_of<Acc>(job);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t bucket = unit / job.channels, c = unit % job.channels;
      const Level& level = (*job.levels)[static_cast<size_t>(bucket / job.images)];
      const Plane<const Acc> chooser = plane_of<const Acc>(level.map, bucket % job.images, c);
      const Plane<Acc> plane = plane_of<Acc>(maps[static_cast<size_t>(bucket / job.images)], bucket % job.images, c);
      for (int64_t y = 0; y < level.map.size[2]; ++y) {
        for (int64_t x = 0; x < level.map.size[3]; ++x) plane.at(y, x) = Acc(0);
      }
      for (int64_t k = tables.buckets[static_cast<size_t>(bucket)]; k < tables.buckets[static_cast<size_t>(bucket + 1)];
           ++k) {
        const int64_t row = tables.boxes[static_cast<size_t>(k)].row;
        const BoxSamples<Acc>& samples = tables.samples[static_cast<size_t>(k)];
        for (int64_t i = 0; i < job.rule.height; ++i) {
          for (int64_t j = 0; j < job.rule.width; ++j) {
            const Largest<Acc> best = largest_of<Acc>(samples.y.of(i), samples.x.of(j), chooser);
            if (!best.inside) continue;
            add(plane, samples.y.tap(i, best.y), samples.x.tap(j, best.x), crop_at<const Acc>(grad, row, c, i, j));
          }
        }
      }
    }
  }

  template <typename Acc> static void add(const Plane<Acc>& plane, const Tap<Acc>& ty, const Tap<Acc>& tx, Acc g) {
    const auto column = [&](int64_t x, Acc share) {
      if (ty.low == ty.high) {
        plane.at(ty.low, x) += share;
        return;
      }
      plane.at(ty.low, x) += (Acc(1) - ty.weight) * share;
      plane.at(ty.high, x) += ty.weight * share;
    };
    if (tx.low == tx.high) return column(tx.low, g);
    column(tx.low, (Acc(1) - tx.weight) * g);
    column(tx.high, tx.weight * g);
  }
};

struct GradBoxes {
  const ConstView& grad;
  double* grad_boxes;

  template <typename T, typename Acc> void run(const RoiJob& job, int64_t begin, int64_t end) const {
    for (int64_t k = begin; k < end; ++k) {
      const RoiTable<Acc>& box = tables_of<Acc>(job).boxes[static_cast<size_t>(k)];
      const BoxSamples<Acc>& samples = tables_of<Acc>(job).samples[static_cast<size_t>(k)];
      const Level& level = (*job.levels)[static_cast<size_t>(box.level)];
      const BinAxis<T> axis_y = roi_axis<T>(*job.rois, box.row, true, level.scale, job.rule);
      const BinAxis<T> axis_x = roi_axis<T>(*job.rois, box.row, false, level.scale, job.rule);
      double sums[4] = {};
      for (int64_t c = 0; c < job.channels; ++c) {
        const Plane<const Acc> plane = plane_of<const Acc>(level.map, box.image, c);
        for (int64_t i = 0; i < job.rule.height; ++i) {
          for (int64_t j = 0; j < job.rule.width; ++j) {
            const Largest<Acc> best = largest_of<Acc>(samples.y.of(i), samples.x.of(j), plane);
            if (best.inside) {
              add(job.rule, level, axis_y, axis_x, samples, plane, i, j, best,
                  crop_at<const Acc>(grad, box.row, c, i, j), sums);
            }
          }
        }
      }
      std::copy(sums, sums + 4, grad_boxes + box.row * 4);
    }
  }

  template <typename T, typename Acc>
  static void add(const PoolRule& rule, const Level& level, const BinAxis<T>& axis_y, const BinAxis<T>& axis_x,
                  const BoxSamples<Acc>& samples, const Plane<const Acc>& plane, int64_t i, int64_t j,
                  const Largest<Acc>& best, Acc g, double* sums) {
    const Tap<Acc> ty = samples.y.tap(i, best.y), tx = samples.x.tap(j, best.x);
    // A sample moved by one pixel goes from what the lower one alone would give to what the upper one would.
    const auto slope = [&](const Tap<Acc>& low_y, const Tap<Acc>& high_y, const Tap<Acc>& low_x,
                           const Tap<Acc>& high_x) {
      return static_cast<double>(g) *
             static_cast<double>(sample_at<Acc>(plane, high_y, high_x) - sample_at<Acc>(plane, low_y, low_x));
    };
    const auto only = [](int64_t pixel) { return Tap<Acc>{pixel, pixel, Acc(0)}; };
    // Whether a sample lies between two pixels is known of the position itself: a weight may have been rounded to 0
    // or 1.
    const auto between = [](const BinAxis<T>& axis, int64_t bin, int64_t sample_index, int64_t length) {
      return edge_tap<T>(axis.position(axis.base(bin), sample_index), length);
    };
    const Tap<T> by = between(axis_y, i, best.y, level.map.size[2]);
    if (by.low != by.high) {
      const double along = slope(only(by.low), only(by.high), tx, tx);
      const EdgeSlopes moves = bin_slopes(axis_y, static_cast<T>(level.scale), i, best.y, rule.height);
      sums[1] += moves.a1 * along;
      sums[3] += moves.a2 * along;
    }
    const Tap<T> bx = between(axis_x, j, best.x, level.map.size[3]);
    if (bx.low != bx.high) {
      const double along = slope(ty, ty, only(bx.low), only(bx.high));
      const EdgeSlopes moves = bin_slopes(axis_x, static_cast<T>(level.scale), j, best.x, rule.width);
      sums[0] += moves.a1 * along;
      sums[2] += moves.a2 * along;
    }
  }
};

template <typename Work> void run_typed(const Work& work, const RoiJob& job, int64_t begin, int64_t end) {
  with_float(job.rois->dtype, [&](auto edge) {
    with_float(job.dtype, [&](auto acc) { work.template run<decltype(edge), decltype(acc)>(job, begin, end); });
  });
}

}  // namespace

void roi_max_at_largest(const RoiJob& job, const std::vector<ConstView>& values, const View& crops, Part channels,
                        int64_t begin, int64_t end) {
  run_typed(Forward{values, crops, channels}, job, begin, end);
}

void roi_max_grad_maps(const RoiJob& job, const ConstView& grad, const std::vector<View>& maps, int64_t begin,
                       int64_t end) {
  run_typed(GradMaps{grad, maps}, job, begin, end);
}

void roi_max_grad_boxes(const RoiJob& job, const ConstView& grad, double* grad_boxes, int64_t begin, int64_t end) {
  run_typed(GradBoxes{grad, grad_boxes}, job, begin, end);
}

}  // namespace roi_align
