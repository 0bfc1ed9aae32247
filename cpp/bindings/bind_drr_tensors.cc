#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <pybind11/typing.h>

#include "dlpack.h"
#include "drr_arguments.h"

namespace {

using fluoropose::Affine3;
using fluoropose::LabelRenderer;
using fluoropose::Method;
using fluoropose::NormalArrays;
using fluoropose::Renderer;
using fluoropose::View;

using Lend = py::typing::Callable<py::object(std::size_t)>;

// Memory of tensors that allocate(bytes) returns.
std::function<std::shared_ptr<void>(std::size_t)> lender(const Lend& allocate) {
  const std::shared_ptr<PyObject> held(py::object(allocate).release().ptr(), [](PyObject* done) {
    const py::gil_scoped_acquire acquire;
    Py_DECREF(done);
  });
  return [held](std::size_t bytes) {
    const py::gil_scoped_acquire acquire;
    py::object tensor = py::handle(held.get())(bytes);
    void* const memory = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<std::uintptr_t>());
    PyObject* const kept = tensor.release().ptr();
    return std::shared_ptr<void>(memory, [kept](void*) {
      const py::gil_scoped_acquire acquire_again;
      Py_DECREF(kept);
    });
  };
}

void* as_stream(std::uintptr_t stream) { return reinterpret_cast<void*>(stream); }

// mu: (nz, ny, nx) float32 on a CUDA device; allocate and stream: see fluoropose::DeviceLoan.
std::unique_ptr<Renderer> renderer_of_tensor(const py::object& mu, const DoubleArray& bone_from_voxel,
                                             const std::string& method, const Lend& allocate, std::uintptr_t stream) {
  const int device = device_of(mu, "mu");
  if (device < 0) throw py::value_error("mu: expected a tensor on a CUDA device, found one on the CPU");
  const auto shape = mu.attr("shape").cast<std::vector<std::int64_t>>();
  const auto [nz, ny, nx] = sides(shape, "mu");
  const BorrowedTensor voxels(mu, "mu", 32, shape, device);
  const Affine3<double> map = to_affine(bone_from_voxel, "bone_from_voxel");
  const fluoropose::DeviceLoan loan{device, lender(allocate), as_stream(stream)};
  const Method kind = method_called(method);
  const py::gil_scoped_release release;
  return std::make_unique<Renderer>(voxels.data<float>(), nx, ny, nz, map, kind, loan);
}

// Views of one size with a tensor (n, 4, 4) of poses, on the CPU or on the renderer's device (-1: none).
class TensorPlacements {
 public:
  TensorPlacements(int device, const std::vector<View>& views, const py::object& world_from_bone)
      : views_(views),
        shape_(images_shape(views)),
        on_device_(device_of(world_from_bone, "world_from_bone") >= 0),
        matrices_(world_from_bone, "world_from_bone", 64, {shape_[0], 4, 4}, on_device_ ? device : -1) {
    if (on_device_) return;
    for (std::size_t i = 0; i < views.size(); ++i) {
      poses_.push_back(fluoropose::affine_of(matrices_.data<double>() + 16 * i));
    }
  }

  const std::vector<std::int64_t>& images() const { return shape_; }
  fluoropose::Placements all() const {
    return {static_cast<int>(views_.size()), views_.data(), on_device_ ? nullptr : poses_.data(),
            on_device_ ? matrices_.data<double>() : nullptr};
  }
  // Calls work(view, pose, number, pixels before) for each, of poses on the CPU.
  template <typename Work>
  void each(const Work& work) const {
    const std::size_t pixels = static_cast<std::size_t>(shape_[1] * shape_[2]);
    for (std::size_t i = 0; i < views_.size(); ++i) work(views_[i], poses_[i], i, i * pixels);
  }
  const std::vector<View>& views() const { return views_; }
  const std::vector<Affine3<double>>& poses() const { return poses_; }

 private:
  const std::vector<View>& views_;
  std::vector<std::int64_t> shape_;
  bool on_device_;
  BorrowedTensor matrices_;
  std::vector<Affine3<double>> poses_;
};

// stream: of a renderer on a CUDA device, the cudaStream_t that orders its work.
void render_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                 const py::object& images, std::uintptr_t stream) {
  const TensorPlacements placed(renderer.cuda_device(), views, world_from_bone);
  const int device = renderer.cuda_device();
  const BorrowedTensor out(images, "images", 32, placed.images(), device);
  const py::gil_scoped_release release;
  if (device < 0) return renderer.render_many(placed.views(), placed.poses(), out.data<float>());
  const auto at = placed.all();
  renderer.on_device(at).images(at, {out.data<float>(), nullptr, nullptr}, as_stream(stream));
}

void pose_gradients_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                         const py::object& by_image, const py::object& gradients, std::uintptr_t stream) {
  const TensorPlacements placed(renderer.cuda_device(), views, world_from_bone);
  const int device = renderer.cuda_device();
  const BorrowedTensor weights(by_image, "image_gradient", 32, placed.images(), device);
  const BorrowedTensor out(gradients, "gradients", 64, {placed.images()[0], 6}, device);
  const py::gil_scoped_release release;
  if (device >= 0) {
    const auto at = placed.all();
    renderer.on_device(at).pose_gradients(at, weights.data<float>(), out.data<double>(), as_stream(stream));
    return;
  }
  placed.each([&](const View& view, const Affine3<double>& pose, std::size_t i, std::size_t first) {
    renderer.pose_gradient(view, pose, weights.data<float>() + first, out.data<double>() + 6 * i);
  });
}

void normal_equations_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                           const py::object& targets, const std::optional<py::object>& weights, const py::object& cost,
                           const py::object& jtj, const py::object& jtr, std::uintptr_t stream) {
  const TensorPlacements placed(renderer.cuda_device(), views, world_from_bone);
  const int device = renderer.cuda_device();
  const std::int64_t n = placed.images()[0];
  const BorrowedTensor target(targets, "targets", 32, placed.images(), device);
  std::optional<BorrowedTensor> weight;
  if (weights) weight.emplace(*weights, "weights", 32, placed.images(), device);
  const BorrowedTensor c(cost, "cost", 64, {n}, device), a(jtj, "jtj", 64, {n, 6, 6}, device),
      b(jtr, "jtr", 64, {n, 6}, device);
  const NormalArrays out{c.data<double>(), a.data<double>(), b.data<double>()};
  const float* const by = weight ? weight->data<float>() : nullptr;
  const py::gil_scoped_release release;
  if (device >= 0) {
    const auto at = placed.all();
    renderer.on_device(at).normal_equations(at, target.data<float>(), by, out, as_stream(stream));
    return;
  }
  placed.each([&](const View& view, const Affine3<double>& pose, std::size_t i, std::size_t first) {
    renderer.normal_equations(view, pose, target.data<float>() + first, by ? by + first : nullptr,
                              {out.cost + i, out.jtj + 36 * i, out.jtr + 6 * i});
  });
}

void volume_gradient_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                          const py::object& by_image, const py::object& gradient, std::uintptr_t stream) {
  const TensorPlacements placed(renderer.cuda_device(), views, world_from_bone);
  const fluoropose::Vec3<int> size = renderer.whole_size();
  const int device = renderer.cuda_device();
  const BorrowedTensor weights(by_image, "image_gradient", 32, placed.images(), device);
  const BorrowedTensor out(gradient, "gradient", 32, {size.z, size.y, size.x}, device);
  const py::gil_scoped_release release;
  const auto at = placed.all();
  if (device < 0) return renderer.volume_gradient(at, weights.data<float>(), out.data<float>());
  renderer.on_device(at).volume_gradient(at, weights.data<float>(), out.data<float>(), as_stream(stream));
}

void paths_into(const LabelRenderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                const py::object& paths, std::uintptr_t stream) {
  const int device = renderer.cuda_device();
  const TensorPlacements placed(device, views, world_from_bone);
  const std::vector<std::int64_t>& images = placed.images();
  const BorrowedTensor out(paths, "paths", 32, {images[0], renderer.count(), images[1], images[2]}, device);
  float* const to = out.data<float>();
  const py::gil_scoped_release release;
  if (device >= 0) {
    const auto at = placed.all();
    renderer.on_device(at).render(at, to, as_stream(stream));
    return;
  }
  placed.each([&](const View& view, const Affine3<double>& pose, std::size_t, std::size_t first) {
    renderer.render(view, pose, to + first * static_cast<std::size_t>(renderer.count()));
  });
}

}  // namespace

void bind_drr_tensors(py::class_<Renderer>& renderer, py::class_<LabelRenderer>& labels) {
  renderer
      .def_static("of_tensor", &renderer_of_tensor, py::arg("mu"), py::arg("bone_from_voxel"), py::arg("method"),
                  py::arg("allocate"), py::arg("stream"))
      .def("render_into", &render_into, py::arg("views"), py::arg("world_from_bone"), py::arg("images"),
           py::arg("stream"))
      .def("pose_gradients_into", &pose_gradients_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("image_gradient"), py::arg("gradients"), py::arg("stream"))
      .def("normal_equations_into", &normal_equations_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("targets"), py::arg("weights"), py::arg("cost"), py::arg("jtj"), py::arg("jtr"), py::arg("stream"))
      .def("volume_gradient_into", &volume_gradient_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("image_gradient"), py::arg("gradient"), py::arg("stream"));
  labels.def("paths_into", &paths_into, py::arg("views"), py::arg("world_from_bone"), py::arg("paths"),
             py::arg("stream"));
}
