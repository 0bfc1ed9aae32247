// Tensors of other libraries, in the memory where they lie: the structures of DLPack 0.8 (a fixed binary interface),
// and a view of a tensor through them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"

struct DlDevice {
  std::int32_t type;  // 1: CPU, 2: CUDA
  std::int32_t id;
};

struct DlType {
  std::uint8_t code;  // 0: signed, 1: unsigned, 2: floating point
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct DlTensor {
  void* data;
  DlDevice device;
  std::int32_t dimensions;
  DlType type;
  std::int64_t* shape;
  std::int64_t* strides;  // elements; null where rows are contiguous
  std::uint64_t byte_offset;
};

struct DlManagedTensor {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManagedTensor*);
};

// Where a tensor lies: a CUDA device's number, or -1 for the CPU. Throws ValueError that names the argument for others.
inline int device_of(const py::object& tensor, const char* name) {
  if (!py::hasattr(tensor, "__dlpack_device__")) {
    throw py::value_error(std::string(name) + ": expected a DLPack tensor, found " +
                          std::string(py::str(py::type::of(tensor).attr("__name__"))));
  }
  const auto [type, id] = tensor.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  if (type != 1 && type != 2) throw py::value_error(std::string(name) + ": expected a tensor on the CPU or on CUDA");
  return type == 1 ? -1 : id;
}

inline std::string device_name(int device) { return device < 0 ? "the CPU" : "CUDA device " + std::to_string(device); }

// A contiguous tensor of floating point numbers, borrowed for as long as this lives. Throws ValueError that names the
// argument where the tensor is of another kind, shape or order, or not on the device (see device_of()).
class BorrowedTensor {
 public:
  BorrowedTensor(const py::object& tensor, const char* name, int bits, const std::vector<std::int64_t>& shape,
                 int device) {
    const auto refuse = [&](const std::string& expected) {
      throw py::value_error(std::string(name) + ": expected " + expected);
    };
    const int found = device_of(tensor, name);
    if (found != device) refuse("a tensor on " + device_name(device) + ", found one on " + device_name(found));
    // Whoever calls orders its work on the same stream: the producer has nothing to wait for.
    capsule_ = device < 0 ? tensor.attr("__dlpack__")() : tensor.attr("__dlpack__")(py::arg("stream") = -1);
    const auto* managed = capsule_.get_pointer<DlManagedTensor>();
    const DlTensor& t = managed->tensor;
    if (t.type.code != 2 || t.type.bits != bits || t.type.lanes != 1) refuse(bits == 32 ? "float32" : "float64");
    const std::vector<std::int64_t> sizes(t.shape, t.shape + t.dimensions);
    if (sizes != shape) refuse("shape " + text(shape) + ", found " + text(sizes));
    std::int64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (t.strides && t.shape[i] > 1 && t.strides[i] != step) refuse("contiguous memory, found strides");
      step *= shape[i];
    }
    data_ = static_cast<char*>(t.data) + t.byte_offset;
  }

  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  static std::string text(const std::vector<std::int64_t>& shape) {
    std::string all;
    for (const std::int64_t side : shape) all += (all.empty() ? "(" : ", ") + std::to_string(side);
    return all + ")";
  }

  py::capsule capsule_;
  char* data_ = nullptr;
};
