#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include <pybind11/typing.h>

#include "bindings.h"
#include "dlpack.h"
#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/label_renderer.h"
#include "fluoropose/drr/renderer.h"

namespace {

using fluoropose::Affine3;
using fluoropose::Device;
using fluoropose::LabelRenderer;
using fluoropose::Method;
using fluoropose::NormalArrays;
using fluoropose::Renderer;
using fluoropose::View;
using FloatVolume = py::array_t<float, py::array::c_style>;
using MaskVolume = py::array_t<bool, py::array::c_style>;

// Voxels along z, y, x.
std::array<int, 3> sides(const std::vector<std::int64_t>& shape, const char* name) {
  if (shape.size() != 3) throw py::value_error(std::string(name) + ": expected shape (nz, ny, nx)");
  std::array<int, 3> sides{};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (shape[axis] > (1 << 30)) throw py::value_error(std::string(name) + ": a side is too long");
    sides[axis] = static_cast<int>(shape[axis]);
  }
  return sides;
}

std::array<int, 3> sides(const FloatVolume& volume, const char* name) {
  return sides({volume.shape(), volume.shape() + volume.ndim()}, name);
}

Device device_called(const std::string& name) {
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  throw py::value_error("device: expected \"cpu\" or \"cuda\", found \"" + name + "\"");
}

Method method_called(const std::string& name) {
  if (name == "ray_cast") return Method::kRayCast;
  if (name == "shear_warp") return Method::kShearWarp;
  if (name == "trilinear") return Method::kTrilinear;
  throw py::value_error("method: expected \"ray_cast\", \"shear_warp\" or \"trilinear\", found \"" + name + "\"");
}

std::unique_ptr<Renderer> make_renderer(const FloatVolume& mu, const DoubleArray& bone_from_voxel,
                                        const std::optional<MaskVolume>& bone, const std::string& method,
                                        const std::string& device, const std::string& storage, bool whole) {
  const auto [nz, ny, nx] = sides(mu, "mu");
  if (bone && (bone->ndim() != 3 || bone->shape(0) != mu.shape(0) || bone->shape(1) != mu.shape(1) ||
               bone->shape(2) != mu.shape(2))) {
    throw py::value_error("bone: expected the shape of mu");
  }
  const Method kind = method_called(method);
  if (storage != "float32" && storage != "int16") {
    throw py::value_error("storage: expected \"float32\" or \"int16\", found \"" + storage + "\"");
  }
  const auto kept = storage == "int16" ? fluoropose::Storage::kInt16 : fluoropose::Storage::kFloat32;
  const Device where = device_called(device);
  const Affine3<double> map = to_affine(bone_from_voxel, "bone_from_voxel");
  const float* values = mu.data();
  const std::uint8_t* mask = bone ? reinterpret_cast<const std::uint8_t*>(bone->data()) : nullptr;
  const py::gil_scoped_release release;
  return std::make_unique<Renderer>(values, mask, nx, ny, nz, map, kind, where, kept,
                                    whole ? fluoropose::Crop::kWhole : fluoropose::Crop::kOccupied);
}

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

py::array_t<float> line_integral(const Renderer& renderer, const View& view, const DoubleArray& world_from_bone) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  py::array_t<float> image({view.height, view.width});
  const fluoropose::DrrImages out{image.mutable_data(), nullptr, nullptr};
  {
    const py::gil_scoped_release release;
    renderer.render(view, pose, out);
  }
  return image;
}

using BoneImages = std::tuple<py::array_t<float>, py::array_t<float>, py::array_t<bool>>;

BoneImages with_bone(const Renderer& renderer, const View& view, const DoubleArray& world_from_bone) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  py::array_t<float> image({view.height, view.width}), bone({view.height, view.width});
  py::array_t<bool> mask({view.height, view.width});
  const fluoropose::DrrImages out{image.mutable_data(), bone.mutable_data(),
                                  reinterpret_cast<std::uint8_t*>(mask.mutable_data())};
  {
    const py::gil_scoped_release release;
    renderer.render(view, pose, out);
  }
  return {image, bone, mask};
}

using FloatImage = py::array_t<float, py::array::c_style>;

void require_shape(const FloatImage& image, const View& view, const char* name) {
  if (image.ndim() != 2 || image.shape(0) != view.height || image.shape(1) != view.width) {
    throw py::value_error(std::string(name) + ": expected the shape (height, width) of the view");
  }
}

std::tuple<py::array_t<float>, py::array_t<float>> with_jacobian(const Renderer& renderer, const View& view,
                                                                 const DoubleArray& world_from_bone) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  py::array_t<float> image({view.height, view.width}), jacobian({6, view.height, view.width});
  const auto sink = fluoropose::store_jacobian(view.width, view.height, image.mutable_data(), jacobian.mutable_data());
  {
    const py::gil_scoped_release release;
    renderer.render_jacobian(view, pose, sink);
  }
  return {image, jacobian};
}

py::array_t<double> pose_gradient(const Renderer& renderer, const View& view, const DoubleArray& world_from_bone,
                                  const FloatImage& by_pixel) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  require_shape(by_pixel, view, "image_gradient");
  py::array_t<double> gradient(6);
  double* out = gradient.mutable_data();
  {
    const py::gil_scoped_release release;
    renderer.pose_gradient(view, pose, by_pixel.data(), out);
  }
  return gradient;
}

std::tuple<double, py::array_t<double>, py::array_t<double>> normal_equations(
    const Renderer& renderer, const View& view, const DoubleArray& world_from_bone, const FloatImage& target,
    const std::optional<FloatImage>& weights) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  require_shape(target, view, "target");
  if (weights) require_shape(*weights, view, "weights");
  py::array_t<double> jtj({6, 6}), jtr(6);
  double cost = 0;
  const NormalArrays out{&cost, jtj.mutable_data(), jtr.mutable_data()};
  {
    const py::gil_scoped_release release;
    renderer.normal_equations(view, pose, target.data(), weights ? weights->data() : nullptr, out);
  }
  return {cost, jtj, jtr};
}

py::array_t<float> volume_gradient(const Renderer& renderer, const View& view, const DoubleArray& world_from_bone,
                                   const FloatImage& by_pixel) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  require_shape(by_pixel, view, "image_gradient");
  const fluoropose::Vec3<int> size = renderer.whole_size();
  py::array_t<float> gradient({size.z, size.y, size.x});
  float* out = gradient.mutable_data();
  const py::gil_scoped_release release;
  renderer.volume_gradient(view, pose, by_pixel.data(), out);
  return gradient;
}

using Poses = std::vector<Affine3<double>>;

Poses poses_for(const std::vector<View>& views, const std::vector<DoubleArray>& matrices) {
  if (views.size() != matrices.size()) throw py::value_error("world_from_bone: expected one pose per view");
  for (const View& view : views) {
    if (view.width != views[0].width || view.height != views[0].height) {
      throw py::value_error("views: expected one size of image");
    }
  }
  Poses poses;
  for (const DoubleArray& matrix : matrices) poses.push_back(to_affine(matrix, "world_from_bone"));
  return poses;
}

std::vector<std::int64_t> images_shape(const std::vector<View>& views) {
  if (views.empty()) throw py::value_error("views: expected at least one");
  return {static_cast<std::int64_t>(views.size()), views[0].height, views[0].width};
}

py::array_t<float> line_integrals(const Renderer& renderer, const std::vector<View>& views,
                                  const std::vector<DoubleArray>& matrices) {
  const Poses poses = poses_for(views, matrices);
  if (views.empty()) return py::array_t<float>({0, 0, 0});
  py::array_t<float> images(images_shape(views));
  float* first = images.mutable_data();
  const py::gil_scoped_release release;
  renderer.render_many(views, poses, first);
  return images;
}

// Views of one size with a tensor (n, 4, 4) of poses, on the CPU or on the renderer's device (-1: none).
class Placed {
 public:
  Placed(int device, const std::vector<View>& views, const py::object& world_from_bone)
      : views_(views),
        shape_(images_shape(views)),
        matrices_(world_from_bone, "world_from_bone", 64, {shape_[0], 4, 4},
                  device_of(world_from_bone, "world_from_bone") < 0 ? -1 : device),
        on_device_(device_of(world_from_bone, "world_from_bone") >= 0) {
    for (const View& view : views) {
      if (view.width != views[0].width || view.height != views[0].height) {
        throw py::value_error("views: expected one size of image");
      }
    }
    if (on_device_) return;
    for (std::size_t i = 0; i < views.size(); ++i) {
      const double* m = matrices_.data<double>() + 16 * i;
      poses_.push_back({{m[0], m[1], m[2]}, {m[4], m[5], m[6]}, {m[8], m[9], m[10]}, {m[3], m[7], m[11]}});
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
  const Poses& poses() const { return poses_; }

 private:
  const std::vector<View>& views_;
  std::vector<std::int64_t> shape_;
  BorrowedTensor matrices_;
  bool on_device_;
  Poses poses_;
};

// stream: of a renderer on a CUDA device, the cudaStream_t that orders its work.
void render_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                 const py::object& images, std::uintptr_t stream) {
  const Placed placed(renderer.cuda_device(), views, world_from_bone);
  const int device = renderer.cuda_device();
  const BorrowedTensor out(images, "images", 32, placed.images(), device);
  const py::gil_scoped_release release;
  if (device < 0) return renderer.render_many(placed.views(), placed.poses(), out.data<float>());
  const auto at = placed.all();
  renderer.on_device(at).images(at, {out.data<float>(), nullptr, nullptr}, as_stream(stream));
}

void pose_gradients_into(const Renderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                         const py::object& by_image, const py::object& gradients, std::uintptr_t stream) {
  const Placed placed(renderer.cuda_device(), views, world_from_bone);
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
  const Placed placed(renderer.cuda_device(), views, world_from_bone);
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
  const Placed placed(renderer.cuda_device(), views, world_from_bone);
  const fluoropose::Vec3<int> size = renderer.whole_size();
  const int device = renderer.cuda_device();
  const BorrowedTensor weights(by_image, "image_gradient", 32, placed.images(), device);
  const BorrowedTensor out(gradient, "gradient", 32, {size.z, size.y, size.x}, device);
  const py::gil_scoped_release release;
  float* const sum = out.data<float>();
  if (device >= 0) {
    const auto at = placed.all();
    renderer.on_device(at).volume_gradient(at, weights.data<float>(), sum, as_stream(stream));
    return;
  }
  const std::size_t voxels = static_cast<std::size_t>(size.x) * size.y * size.z;
  std::vector<float> one(voxels);
  std::fill_n(sum, voxels, 0.0f);
  placed.each([&](const View& view, const Affine3<double>& pose, std::size_t, std::size_t first) {
    renderer.volume_gradient(view, pose, weights.data<float>() + first, one.data());
    std::transform(one.begin(), one.end(), sum, sum, std::plus<>());
  });
}

std::unique_ptr<LabelRenderer> make_label_renderer(const FloatVolume& labels, int count,
                                                   const DoubleArray& bone_from_voxel, const std::string& device) {
  const auto [nz, ny, nx] = sides(labels, "labels");
  const Affine3<double> map = to_affine(bone_from_voxel, "bone_from_voxel");
  const Device where = device_called(device);
  const py::gil_scoped_release release;
  return std::make_unique<LabelRenderer>(labels.data(), count, nx, ny, nz, map, where);
}

py::array_t<float> label_paths(const LabelRenderer& renderer, const View& view, const DoubleArray& world_from_bone) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  py::array_t<float> paths({renderer.count(), view.height, view.width});
  float* out = paths.mutable_data();
  const py::gil_scoped_release release;
  renderer.render(view, pose, out);
  return paths;
}

void paths_into(const LabelRenderer& renderer, const std::vector<View>& views, const py::object& world_from_bone,
                const py::object& paths, std::uintptr_t stream) {
  const int device = renderer.cuda_device();
  const Placed placed(device, views, world_from_bone);
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

void bind_drr(py::module_& m) {
  m.def("built_with_cuda", &fluoropose::built_with_cuda, "Whether the compiled core holds CUDA kernels.");
  m.def("cuda_device_count", &fluoropose::cuda_device_count,
        "Number of CUDA devices that can be used; 0 without a device, a driver or CUDA kernels.");
  py::class_<Renderer>(m, "Renderer", "DRR renderer of the compiled core; see fluoropose.drr.")
      .def(py::init(&make_renderer), py::arg("mu"), py::arg("bone_from_voxel"), py::arg("bone"), py::arg("method"),
           py::arg("device"), py::arg("storage"), py::arg("whole"))
      .def_static("of_tensor", &renderer_of_tensor, py::arg("mu"), py::arg("bone_from_voxel"), py::arg("method"),
                  py::arg("allocate"), py::arg("stream"))
      .def("line_integral", &line_integral, py::arg("view"), py::arg("world_from_bone"))
      .def("line_integrals", &line_integrals, py::arg("views"), py::arg("world_from_bone"))
      .def("render_into", &render_into, py::arg("views"), py::arg("world_from_bone"), py::arg("images"),
           py::arg("stream"))
      .def("pose_gradients_into", &pose_gradients_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("image_gradient"), py::arg("gradients"), py::arg("stream"))
      .def("volume_gradient", &volume_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"))
      .def("normal_equations_into", &normal_equations_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("targets"), py::arg("weights"), py::arg("cost"), py::arg("jtj"), py::arg("jtr"), py::arg("stream"))
      .def("volume_gradient_into", &volume_gradient_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("image_gradient"), py::arg("gradient"), py::arg("stream"))
      .def_property_readonly("cuda_device", &Renderer::cuda_device, "Number of the CUDA device; -1 on the CPU.")
      .def("with_bone", &with_bone, py::arg("view"), py::arg("world_from_bone"))
      .def("with_jacobian", &with_jacobian, py::arg("view"), py::arg("world_from_bone"))
      .def("pose_gradient", &pose_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"))
      .def("normal_equations", &normal_equations, py::arg("view"), py::arg("world_from_bone"), py::arg("target"),
           py::arg("weights"));
  py::class_<LabelRenderer>(m, "LabelRenderer", "See fluoropose.drr.LabelRenderer.")
      .def(py::init(&make_label_renderer), py::arg("labels"), py::arg("count"), py::arg("bone_from_voxel"),
           py::arg("device"))
      .def("paths", &label_paths, py::arg("view"), py::arg("world_from_bone"))
      .def("paths_into", &paths_into, py::arg("views"), py::arg("world_from_bone"), py::arg("paths"), py::arg("stream"))
      .def_property_readonly("cuda_device", &LabelRenderer::cuda_device, "As of Renderer.");
}
