// The ring of poses, read.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "fluoropose/embed/fluoropose.h"
#include "fluoropose/embed/layout.h"
#include "fluoropose/embed/mapped_file.h"

namespace embed = fluoropose::embed;
using embed::Failure;
using Clock = std::chrono::steady_clock;

struct fluoropose_poses {
  explicit fluoropose_poses(const std::string& path);

  embed::PosesHeader& header() const { return *reinterpret_cast<embed::PosesHeader*>(file.data()); }
  uint64_t written() const { return std::atomic_ref(header().written).load(std::memory_order_acquire); }
  bool ended() const { return std::atomic_ref(header().finished).load(std::memory_order_acquire) != 0; }

  // Takes pose `next`; false where the service has begun to overwrite it.
  bool take(fluoropose_pose& pose);

  embed::MappedFile file;
  uint64_t next = 0;
  uint64_t overtaken = 0;
};

namespace {

constexpr auto kPoll = std::chrono::microseconds(200);
constexpr auto kLook = std::chrono::milliseconds(200);  // whether the file is still the one of its name

void check(const fluoropose_poses* poses, const fluoropose_pose* pose) {
  if (poses == nullptr || pose == nullptr) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "poses, pose: found NULL");
  if (pose->struct_size < sizeof(fluoropose_pose)) {
    throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "pose: struct_size: expected " + std::to_string(sizeof(fluoropose_pose)) +
                                                 ", found " + std::to_string(pose->struct_size));
  }
}

int32_t next(fluoropose_poses& poses, double timeout_s, fluoropose_pose& pose) {
  const double longest = 1e6;
  const auto wait = std::chrono::duration<double>(std::clamp(timeout_s, 0.0, longest));
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(wait);
  auto look = Clock::now() + kLook;
  for (;;) {
    const bool ended = poses.ended();  // before the count: what is counted after the end was read is there
    const uint64_t written = poses.written();
    const uint64_t slots = poses.header().slots;
    if (written > poses.next + slots) {
      poses.overtaken += written - slots - poses.next;
      poses.next = written - slots;
    }
    if (poses.next < written) {
      const bool whole = poses.take(pose);
      ++poses.next;
      if (whole) return FLUOROPOSE_OK;
      ++poses.overtaken;
      continue;
    }
    const auto now = Clock::now();
    if (now >= look || now >= end || ended) {
      if (poses.file.replaced()) {
        throw Failure(FLUOROPOSE_ERROR_REPLACED, poses.file.path() + ": another file has taken its name");
      }
      look = now + kLook;
    }
    if (ended) return FLUOROPOSE_ENDED;
    if (now >= end) return FLUOROPOSE_TIMEOUT;
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

fluoropose_poses::fluoropose_poses(const std::string& path) : file(path, false) {
  const embed::PosesHeader& found = header();
  if (std::memcmp(found.magic, embed::kPosesMagic, 6) != 0) {
    throw Failure(FLUOROPOSE_ERROR_FORMAT, path + ": expected a ring of poses, which begins with FPPOSE");
  }
  if (found.version != embed::kRingVersion) {
    throw Failure(FLUOROPOSE_ERROR_VERSION, path + ": version: expected 1, found " + std::to_string(found.version));
  }
  if (found.slot_bytes < sizeof(fluoropose_pose) || found.slot_bytes % 8 != 0 || found.slots == 0 ||
      file.size() != sizeof(found) + uint64_t{found.slots} * found.slot_bytes) {
    throw Failure(FLUOROPOSE_ERROR_FORMAT, path + ": header and size do not agree");
  }
  next = written();
}

bool fluoropose_poses::take(fluoropose_pose& pose) {
  const embed::PosesHeader& about = header();
  char* slot = file.data() + sizeof(about) + next % about.slots * about.slot_bytes;
  const std::atomic_ref state(*reinterpret_cast<embed::PoseState*>(slot));
  const uint64_t before = state.load(std::memory_order_acquire);
  const size_t start = sizeof(embed::PoseState);
  std::memcpy(reinterpret_cast<char*>(&pose) + start, slot + start, sizeof(pose) - start);
  std::atomic_thread_fence(std::memory_order_acquire);
  pose.reserved = 0;
  pose.reason[sizeof(pose.reason) - 1] = '\0';
  return before == 2 * next + 2 && state.load(std::memory_order_relaxed) == before;
}

int32_t fluoropose_poses_open(const char* path, fluoropose_poses** poses) {
  return embed::guarded([&] {
    if (path == nullptr || poses == nullptr) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "path, poses: found NULL");
    *poses = nullptr;
    *poses = std::make_unique<fluoropose_poses>(path).release();
    return FLUOROPOSE_OK;
  });
}

int32_t fluoropose_poses_next(fluoropose_poses* poses, double timeout_s, fluoropose_pose* pose) {
  return embed::guarded([&] {
    check(poses, pose);
    return next(*poses, timeout_s, *pose);
  });
}

int32_t fluoropose_poses_latest(fluoropose_poses* poses, fluoropose_pose* pose) {
  return embed::guarded([&] {
    check(poses, pose);
    int32_t status = FLUOROPOSE_TIMEOUT;
    while (poses->written() > poses->next && status != FLUOROPOSE_OK) {
      poses->next = std::max(poses->next, poses->written() - 1);
      status = next(*poses, 0.0, *pose);
    }
    return status;
  });
}

int32_t fluoropose_poses_next_values(fluoropose_poses* poses, double timeout_s, double values[FLUOROPOSE_VALUES]) {
  return embed::guarded([&] {
    if (values == nullptr) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "values: found NULL");
    fluoropose_pose pose{};
    pose.struct_size = sizeof(pose);
    check(poses, &pose);
    const int32_t status = next(*poses, timeout_s, pose);
    if (status == FLUOROPOSE_OK) {
      const double first[] = {static_cast<double>(pose.number),
                              pose.time_s,
                              pose.latency_ms,
                              pose.quality,
                              static_cast<double>(pose.phase),
                              static_cast<double>(pose.session),
                              static_cast<double>(pose.landmarks)};
      std::copy(std::begin(first), std::end(first), values);
      std::copy(std::begin(pose.world_from_bone), std::end(pose.world_from_bone), values + std::size(first));
    }
    return status;
  });
}

uint64_t fluoropose_poses_overtaken(const fluoropose_poses* poses) { return poses == nullptr ? 0 : poses->overtaken; }

void fluoropose_poses_close(fluoropose_poses* poses) { delete poses; }
