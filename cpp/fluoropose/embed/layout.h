// The bytes of the rings, as the Python modules fluoropose.streaming.ring and pose_ring document them. Little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fluoropose/embed/fluoropose.h"

namespace fluoropose::embed {

constexpr uint32_t kRingVersion = 1;
constexpr char kFramesMagic[9] = "FPRING\0\0";
constexpr char kPosesMagic[9] = "FPPOSE\0\0";

struct FramesHeader {
  char magic[8];
  uint32_t version;
  uint32_t slots;
  uint32_t width;
  uint32_t height;
  uint32_t bytes;
  uint32_t bits;
  uint64_t written;
  uint32_t finished;
  uint32_t session;
  char zero[16];
};

struct FrameSlot {
  uint64_t state;
  uint64_t number;
  double time_s;
  uint64_t arrived_ns;
  uint32_t view;
  uint32_t session;
  char zero[24];
};

struct PosesHeader {
  char magic[8];
  uint32_t version;
  uint32_t slots;
  uint32_t slot_bytes;
  char zero[12];
  uint64_t written;
  uint32_t finished;
  uint32_t session;
  char zero_too[16];
};

// A slot of the ring of poses is a fluoropose_pose with this in place of its first eight bytes.
using PoseState = uint64_t;

static_assert(sizeof(FramesHeader) == 64 && sizeof(FrameSlot) == 64 && sizeof(PosesHeader) == 64);
static_assert(sizeof(fluoropose_pose) == 688 && offsetof(fluoropose_pose, number) == sizeof(PoseState));

constexpr uint64_t padded(uint64_t size) { return (size + 63) / 64 * 64; }

}  // namespace fluoropose::embed
