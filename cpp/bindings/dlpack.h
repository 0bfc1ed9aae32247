// Tensors of other libraries, in the memory where they lie: the structures of DLPack 0.8 (a fixed binary interface),
// and a view of a tensor through them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
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

// A contiguous tensor of floating point numbers, borrowed for as long as this lives. Throws ValueError that names the
// argument where the tensor is of another kind, shape, place or order.
class BorrowedTensor {
 public:
  BorrowedTensor(const py::object& tensor, const char* name, int bits, const std::vector<std::int64_t>& shape,
                 bool on_cuda, std::optional<std::uintptr_t> stream) {
    if (!py::hasattr(tensor, "__dlpack__")) throw py::value_error(std::string(name) + ": expected a DLPack tensor");
    // The producer makes its stream wait for ours; a CPU tensor takes no stream.
    capsule_ = on_cuda ? tensor.attr("__dlpack__")(py::arg("stream") = *stream) : tensor.attr("__dlpack__")();
    const auto* managed = capsule_.get_pointer<DlManagedTensor>();
    const DlTensor& t = managed->tensor;
    const auto refuse = [&](const char* expected) {
      throw py::value_error(std::string(name) + ": expected " + expected);
    };
    if (t.device.type != (on_cuda ? 2 : 1)) refuse(on_cuda ? "a tensor on the renderer's CUDA device" : "a CPU tensor");
    if (t.type.code != 2 || t.type.bits != bits || t.type.lanes != 1) refuse(bits == 32 ? "float32" : "float64");
    if (t.dimensions != static_cast<std::int32_t>(shape.size())) refuse("another number of dimensions");
    std::int64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (t.shape[i] != shape[i]) refuse("another shape");
      if (t.strides && t.shape[i] > 1 && t.strides[i] != step) refuse("contiguous rows");
      step *= shape[i];
    }
    data_ = static_cast<char*>(t.data) + t.byte_offset;
  }

  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  py::capsule capsule_;
  char* data_ = nullptr;
};
