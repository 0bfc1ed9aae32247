#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "drr_arguments.h"
#include "fluoropose/drr/jacobian_sinks.h"

namespace {

using fluoropose::Affine3;
using fluoropose::Device;
using fluoropose::LabelRenderer;
using fluoropose::Method;
using fluoropose::NormalArrays;
using fluoropose::Renderer;
using fluoropose::View;
using FloatVolume = py::array_t<float, py::array::c_style>;
using FloatImage = py::array_t<float, py::array::c_style>;
using MaskVolume = py::array_t<bool, py::array::c_style>;

std::array<int, 3> sides_of(const FloatVolume& volume, const char* name) {
  return sides({volume.shape(), volume.shape() + volume.ndim()}, name);
}

Device device_called(const std::string& name) {
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  throw py::value_error("device: expected \"cpu\" or \"cuda\", found \"" + name + "\"");
}

std::unique_ptr<Renderer> make_renderer(const FloatVolume& mu, const DoubleArray& bone_from_voxel,
                                        const std::optional<MaskVolume>& bone, const std::string& method,
                                        const std::string& device, const std::string& storage, bool whole) {
  const auto [nz, ny, nx] = sides_of(mu, "mu");
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
  renderer.volume_gradient({1, &view, &pose, nullptr}, by_pixel.data(), out);
  return gradient;
}

py::array_t<float> line_integrals(const Renderer& renderer, const std::vector<View>& views,
                                  const std::vector<DoubleArray>& matrices) {
  if (views.size() != matrices.size()) throw py::value_error("world_from_bone: expected one pose per view");
  if (views.empty()) return py::array_t<float>({0, 0, 0});
  std::vector<Affine3<double>> poses;
  for (const DoubleArray& matrix : matrices) poses.push_back(to_affine(matrix, "world_from_bone"));
  py::array_t<float> images(images_shape(views));
  float* first = images.mutable_data();
  const py::gil_scoped_release release;
  renderer.render_many(views, poses, first);
  return images;
}

std::unique_ptr<LabelRenderer> make_label_renderer(const FloatVolume& labels, int count,
                                                   const DoubleArray& bone_from_voxel, const std::string& device) {
  const auto [nz, ny, nx] = sides_of(labels, "labels");
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

}  // namespace

void bind_drr(py::module_& m) {
  m.def("built_with_cuda", &fluoropose::built_with_cuda, "Whether the compiled core holds CUDA kernels.");
  m.def("cuda_device_count", &fluoropose::cuda_device_count,
        "Number of CUDA devices that can be used; 0 without a device, a driver or CUDA kernels.");
  py::class_<Renderer> renderer(m, "Renderer", "DRR renderer of the compiled core; see fluoropose.drr.");
  py::class_<LabelRenderer> labels(m, "LabelRenderer", "See fluoropose.drr.LabelRenderer.");
  renderer
      .def(py::init(&make_renderer), py::arg("mu"), py::arg("bone_from_voxel"), py::arg("bone"), py::arg("method"),
           py::arg("device"), py::arg("storage"), py::arg("whole"))
      .def("line_integral", &line_integral, py::arg("view"), py::arg("world_from_bone"))
      .def("line_integrals", &line_integrals, py::arg("views"), py::arg("world_from_bone"))
      .def("volume_gradient", &volume_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"))
      .def_property_readonly("cuda_device", &Renderer::cuda_device, "Number of the CUDA device; -1 on the CPU.")
      .def("with_bone", &with_bone, py::arg("view"), py::arg("world_from_bone"))
      .def("with_jacobian", &with_jacobian, py::arg("view"), py::arg("world_from_bone"))
      .def("pose_gradient", &pose_gradient, py::arg("view"), py::arg("world_from_bone"), py::arg("image_gradient"))
      .def("normal_equations", &normal_equations, py::arg("view"), py::arg("world_from_bone"), py::arg("target"),
           py::arg("weights"));
  labels
      .def(py::init(&make_label_renderer), py::arg("labels"), py::arg("count"), py::arg("bone_from_voxel"),
           py::arg("device"))
      .def("paths", &label_paths, py::arg("view"), py::arg("world_from_bone"))
      .def_property_readonly("cuda_device", &LabelRenderer::cuda_device, "As of Renderer.");
  bind_drr_tensors(renderer, labels);
}
