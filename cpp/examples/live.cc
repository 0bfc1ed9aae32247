// Brings frames to a running `fluoropose serve` and prints the poses that come back, as acquisition software would do.
//
//   live FRAMES.raw RATE_HZ [RING_OF_FRAMES [RING_OF_POSES]]
//
// FRAMES.raw holds the frames of view 1 and view 2 in turn, each as the ring wants them: width x height pixels, row by
// row, one byte per pixel up to 8 bits, two (little-endian) beyond. Here is where a camera's callback would be.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "fluoropose/embed/fluoropose.h"

namespace {

void check(int32_t status) {
  if (status >= 0) return;
  std::fprintf(stderr, "live: %s\n", fluoropose_problem());
  std::exit(1);
}

// Prints poses until `last` has come, or nothing for 10 s.
void follow(fluoropose_poses* poses, uint64_t last) {
  static const char* const phases[] = {"lost", "acquired", "tracking", "coasting"};
  fluoropose_pose pose{};
  pose.struct_size = sizeof(pose);
  for (;;) {
    const int32_t status = fluoropose_poses_next(poses, 10.0, &pose);
    check(status);
    if (status != FLUOROPOSE_OK) {
      std::fprintf(stderr, "live: %s\n", status == FLUOROPOSE_TIMEOUT ? "no pose for 10 s" : "the service has ended");
      return;
    }
    const double* m = pose.world_from_bone;
    std::printf("%llu %s %.6f %.6f %.6f mm, quaternion %.9f %.9f %.9f %.9f, %.2f ms%s%s\n",
                static_cast<unsigned long long>(pose.number), phases[pose.phase & 3], m[3], m[7], m[11],
                pose.quaternion[0], pose.quaternion[1], pose.quaternion[2], pose.quaternion[3], pose.latency_ms,
                pose.reason[0] != '\0' ? ": " : "", pose.reason);
    if (pose.number == last) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fprintf(stderr, "usage: live FRAMES.raw RATE_HZ [RING_OF_FRAMES [RING_OF_POSES]]\n");
    return 2;
  }
  fluoropose_frames* frames = nullptr;
  fluoropose_poses* poses = nullptr;
  check(fluoropose_poses_open(argc > 4 ? argv[4] : "/dev/shm/fluoropose.poses", &poses));
  check(fluoropose_frames_open(argc > 3 ? argv[3] : "/dev/shm/fluoropose.frames", nullptr, &frames));
  fluoropose_layout layout{};
  layout.struct_size = sizeof(layout);
  check(fluoropose_frames_layout(frames, &layout));

  std::ifstream file(argv[1], std::ios::binary | std::ios::ate);
  const uint64_t bytes = uint64_t{layout.width_px} * layout.height_px * (layout.bits <= 8 ? 1 : 2);
  const uint64_t pairs = file ? static_cast<uint64_t>(file.tellg()) / (2 * bytes) : 0;
  if (pairs == 0) {
    std::fprintf(stderr, "live: %s: expected frames of %u x %u pixels\n", argv[1], layout.width_px, layout.height_px);
    return 1;
  }
  file.seekg(0);

  std::thread follower(follow, poses, pairs - 1);
  const double rate = std::atof(argv[2]);
  const auto start = std::chrono::steady_clock::now();
  std::vector<char> pixels(bytes);
  for (uint64_t number = 0; number < pairs; ++number) {
    const double time_s = static_cast<double>(number) / rate;
    std::this_thread::sleep_until(start + std::chrono::duration<double>(time_s));
    for (uint32_t view = 0; view < 2; ++view) {
      file.read(pixels.data(), static_cast<std::streamsize>(bytes));
      check(fluoropose_frames_write(frames, view, number, time_s, pixels.data(), bytes));
    }
  }
  follower.join();
  fluoropose_frames_close(frames, 1);
  fluoropose_poses_close(poses);
  return 0;
}
