#include <array>
#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "dlpack.h"
#include "fluoropose/drr/jacobian_sinks.h"
#include "fluoropose/drr/renderer.h"

namespace {

using fluoropose::Affine3;
using fluoropose::Device;
using fluoropose::Method;
using fluoropose::Renderer;
using fluoropose::View;
using FloatVolume = py::array_t<float, py::array::c_style>;
using MaskVolume = py::array_t<bool, py::array::c_style>;

std::unique_ptr<Renderer> make_renderer(const FloatVolume& mu, const DoubleArray& bone_from_voxel,
                                        const std::optional<MaskVolume>& bone, const std::string& method,
                                        const std::string& device, const std::string& storage, bool whole) {
  if (mu.ndim() != 3) throw py::value_error("mu: expected shape (nz, ny, nx)");
  if (bone && (bone->ndim() != 3 || bone->shape(0) != mu.shape(0) || bone->shape(1) != mu.shape(1) ||
               bone->shape(2) != mu.shape(2))) {
    throw py::value_error("bone: expected the shape of mu");
  }
  const auto side = [&](int axis) {
    if (mu.shape(axis) > (1 << 30)) throw py::value_error("mu: a side is too long");
    return static_cast<int>(mu.shape(axis));
  };
  if (method != "ray_cast" && method != "shear_warp" && method != "trilinear") {
    throw py::value_error("method: expected \"ray_cast\", \"shear_warp\" or \"trilinear\", found \"" + method + "\"");
  }
  if (device != "cpu" && device != "cuda") {
    throw py::value_error("device: expected \"cpu\" or \"cuda\", found \"" + device + "\"");
  }
  if (storage != "float32" && storage != "int16") {
    throw py::value_error("storage: expected \"float32\" or \"int16\", found \"" + storage + "\"");
  }
  const auto kept = storage == "int16" ? fluoropose::Storage::kInt16 : fluoropose::Storage::kFloat32;
  const Device where = device == "cpu" ? Device::kCpu : Device::kCuda;
  const Method kind = method == "ray_cast"     ? Method::kRayCast
                      : method == "shear_warp" ? Method::kShearWarp
                                               : Method::kTrilinear;
  const int nz = side(0), ny = side(1), nx = side(2);
  const Affine3<double> map = to_affine(bone_from_voxel, "bone_from_voxel");
  const float* values = mu.data();
  const std::uint8_t* mask = bone ? reinterpret_cast<const std::uint8_t*>(bone->data()) : nullptr;
  const py::gil_scoped_release release;
  return std::make_unique<Renderer>(values, mask, nx, ny, nz, map, kind, where, kept,
                                    whole ? fluoropose::Crop::kWhole : fluoropose::Crop::kOccupied);
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
  fluoropose::PoseGradient sums(view.width, view.height, by_pixel.data());
  {
    const py::gil_scoped_release release;
    renderer.render_jacobian(view, pose, sums.sink());
  }
  sums.result(gradient.mutable_data());
  return gradient;
}

std::tuple<double, py::array_t<double>, py::array_t<double>> normal_equations(
    const Renderer& renderer, const View& view, const DoubleArray& world_from_bone, const FloatImage& target,
    const std::optional<FloatImage>& weights) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  require_shape(target, view, "target");
  if (weights) require_shape(*weights, view, "weights");
  py::array_t<double> jtj({6, 6}), jtr(6);
  fluoropose::NormalEquations sums(view.width, view.height, target.data(), weights ? weights->data() : nullptr);
  {
    const py::gil_scoped_release release;
    renderer.render_jacobian(view, pose, sums.sink());
  }
  const double cost = sums.result(jtj.mutable_data(), jtr.mutable_data());
  return {cost, jtj, jtr};
}

py::array_t<float> volume_gradient(const Renderer& renderer, const View& view, const DoubleArray& world_from_bone,
                                   const FloatImage& by_pixel, const std::array<py::ssize_t, 3>& shape) {
  const Affine3<double> pose = to_affine(world_from_bone, "world_from_bone");
  require_shape(by_pixel, view, "image_gradient");
  py::array_t<float> gradient(shape);
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

// stream: of a renderer on a CUDA device, the cudaStream_t that orders its work.
void render_into(const Renderer& renderer, const std::vector<View>& views, const std::vector<DoubleArray>& matrices,
                 const py::object& images, std::optional<std::uintptr_t> stream) {
  const Poses poses = poses_for(views, matrices);
  const BorrowedTensor out(images, "images", 32, images_shape(views), renderer.on_cuda(), stream);
  const py::gil_scoped_release release;
  if (!renderer.on_cuda()) return renderer.render_many(views, poses, out.data<float>());
  const std::size_t pixels = static_cast<std::size_t>(views[0].width) * views[0].height;
  for (std::size_t i = 0; i < views.size(); ++i) {
    renderer.enqueue(views[i], poses[i], out.data<float>() + i * pixels, reinterpret_cast<void*>(*stream));
  }
}

void pose_gradients_into(const Renderer& renderer, const std::vector<View>& views,
                         const std::vector<DoubleArray>& matrices, const py::object& by_image,
                         const py::object& gradients, std::optional<std::uintptr_t> stream) {
  const Poses poses = poses_for(views, matrices);
  const std::vector<std::int64_t> shape = images_shape(views);
  const BorrowedTensor weights(by_image, "image_gradient", 32, shape, renderer.on_cuda(), stream);
  const BorrowedTensor out(gradients, "gradients", 64, {shape[0], 6}, renderer.on_cuda(), stream);
  const py::gil_scoped_release release;
  const std::size_t pixels = static_cast<std::size_t>(views[0].width) * views[0].height;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const float* by_pixel = weights.data<float>() + i * pixels;
    double* gradient = out.data<double>() + 6 * i;
    if (renderer.on_cuda()) {
      renderer.enqueue_pose_gradient(views[i], poses[i], by_pixel, gradient, reinterpret_cast<void*>(*stream));
    } else {
      fluoropose::PoseGradient sums(views[i].width, views[i].height, by_pixel);
      renderer.render_jacobian(views[i], poses[i], sums.sink());
      sums.result(gradient);
    }
  }
}

}  // namespace

void bind_drr(py::module_& m) {
  m.def("built_with_cuda", &fluoropose::built_with_cuda, "Whether the compiled core holds CUDA kernels.");
  m.def("cuda_device_count", &fluoropose::cuda_device_count,
        "Number of CUDA devices that can be used; 0 without a device, a driver or CUDA kernels.");
  py::class_<Renderer>(m, "Renderer", "DRR renderer of the compiled core; see fluoropose.drr.")
      .def(py::init(&make_renderer), py::arg("mu"), py::arg("bone_from_voxel"), py::arg("bone"), py::arg("method"),
           py::arg("device"), py::arg("storage"), py::arg("whole"))
      .def("line_integral", &line_integral, py::arg("view"), py::arg("world_from_bone"))
      .def("line_integrals", &line_integrals, py::arg("views"), py::arg("world_from_bone"))
      .def("render_into", &render_into, py::arg("views"), py::arg("world_from_bone"), py::arg("images"),
           py::arg("stream"))
      .def("pose_gradients_into", &pose_gradients_into, py::arg("views"), py::arg("world_from_bone"),
           py::arg("image_gradient"), py::arg("gradients"), py::arg("stream"))
      .def("volume_gradient", &volume_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"),
           py::arg("shape"))
      .def("with_bone", &with_bone, py::arg("view"), py::arg("world_from_bone"))
      .def("with_jacobian", &with_jacobian, py::arg("view"), py::arg("world_from_bone"))
      .def("pose_gradient", &pose_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"))
      .def("normal_equations", &normal_equations, py::arg("view"), py::arg("world_from_bone"), py::arg("target"),
           py::arg("weights"));
}
