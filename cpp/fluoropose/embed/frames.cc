// The ring of frames, written.
#include <time.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "fluoropose/embed/fluoropose.h"
#include "fluoropose/embed/layout.h"
#include "fluoropose/embed/mapped_file.h"

namespace embed = fluoropose::embed;
using embed::Failure;

struct fluoropose_frames {
  explicit fluoropose_frames(const std::string& path);

  embed::FramesHeader& header() const { return *reinterpret_cast<embed::FramesHeader*>(file.data()); }
  uint64_t frame_bytes() const { return uint64_t{header().width} * header().height * header().bytes; }
  uint64_t slot_bytes() const { return sizeof(embed::FrameSlot) + embed::padded(frame_bytes()); }

  embed::MappedFile file;
};

namespace {

constexpr uint32_t kLargest = 65535;
constexpr uint32_t kSlots = 32;

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

std::string described(uint32_t width, uint32_t height, uint32_t bits) {
  return std::to_string(width) + " x " + std::to_string(height) + " pixels of " + std::to_string(bits) + " bits";
}

void check(const fluoropose_layout& layout) {
  if (layout.struct_size < sizeof(fluoropose_layout)) {
    throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "layout: struct_size: expected " +
                                                 std::to_string(sizeof(fluoropose_layout)) + ", found " +
                                                 std::to_string(layout.struct_size));
  }
  const bool sized = layout.width_px - 1 < kLargest && layout.height_px - 1 < kLargest && layout.slots <= kLargest;
  if (!sized || layout.bits < 1 || layout.bits > 16) {
    throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "layout: expected sizes and slots up to 65535 and 1 to 16 bits, found " +
                                                 described(layout.width_px, layout.height_px, layout.bits));
  }
}

void create(const std::string& path, const fluoropose_layout& layout) {
  embed::FramesHeader header{};
  std::memcpy(header.magic, embed::kFramesMagic, sizeof(header.magic));
  header.version = embed::kRingVersion;
  header.slots = layout.slots != 0 ? layout.slots : kSlots;
  header.width = layout.width_px;
  header.height = layout.height_px;
  header.bits = layout.bits;
  header.bytes = layout.bits <= 8 ? 1 : 2;
  const uint64_t frame = embed::padded(uint64_t{header.width} * header.height * header.bytes);
  embed::create_file(path, &header, sizeof(header), sizeof(header) + header.slots * (sizeof(embed::FrameSlot) + frame));
}

}  // namespace

fluoropose_frames::fluoropose_frames(const std::string& path) : file(path, true) {
  const embed::FramesHeader& found = header();
  if (std::memcmp(found.magic, embed::kFramesMagic, 6) != 0) {
    throw Failure(FLUOROPOSE_ERROR_FORMAT, path + ": expected a ring of frames, which begins with FPRING");
  }
  if (found.version != embed::kRingVersion) {
    throw Failure(FLUOROPOSE_ERROR_VERSION, path + ": version: expected 1, found " + std::to_string(found.version));
  }
  if ((found.bytes != 1 && found.bytes != 2) || found.slots == 0 || found.width - 1 >= kLargest ||
      found.height - 1 >= kLargest || file.size() != sizeof(found) + found.slots * slot_bytes()) {
    throw Failure(FLUOROPOSE_ERROR_FORMAT, path + ": header and size do not agree");
  }
}

int32_t fluoropose_frames_open(const char* path, const fluoropose_layout* layout, fluoropose_frames** frames) {
  return embed::guarded([&] {
    if (path == nullptr || frames == nullptr) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "path, frames: found NULL");
    *frames = nullptr;
    if (layout != nullptr) {
      check(*layout);
      if (!embed::exists(path)) create(path, *layout);
    }
    auto opened = std::make_unique<fluoropose_frames>(path);
    embed::FramesHeader& header = opened->header();
    if (layout != nullptr && (header.width != layout->width_px || header.height != layout->height_px ||
                              header.bits != layout->bits || (layout->slots != 0 && header.slots != layout->slots))) {
      throw Failure(FLUOROPOSE_ERROR_LAYOUT,
                    std::string(path) + ": expected " + described(layout->width_px, layout->height_px, layout->bits) +
                        " in " + std::to_string(layout->slots) + " slots, found " +
                        described(header.width, header.height, header.bits) + " in " + std::to_string(header.slots));
    }
    header.session += 1;
    header.finished = 0;
    *frames = opened.release();
    return FLUOROPOSE_OK;
  });
}

int32_t fluoropose_frames_layout(const fluoropose_frames* frames, fluoropose_layout* layout) {
  return embed::guarded([&] {
    if (frames == nullptr || layout == nullptr || layout->struct_size < sizeof(fluoropose_layout)) {
      throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "frames, layout: found NULL, or a wrong struct_size");
    }
    const embed::FramesHeader& header = frames->header();
    *layout = {layout->struct_size, header.width, header.height, header.bits, header.slots};
    return FLUOROPOSE_OK;
  });
}

int32_t fluoropose_frames_write(fluoropose_frames* frames, uint32_t view, uint64_t number, double time_s,
                                const void* pixels, uint64_t bytes) {
  return embed::guarded([&] {
    const uint64_t arrived = monotonic_ns();
    if (frames == nullptr || pixels == nullptr) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "frames, pixels: found NULL");
    if (view > 1) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "view: expected 0 or 1, found " + std::to_string(view));
    if (!std::isfinite(time_s)) throw Failure(FLUOROPOSE_ERROR_ARGUMENT, "time_s: expected a finite number");
    if (bytes != frames->frame_bytes()) {
      throw Failure(FLUOROPOSE_ERROR_ARGUMENT,
                    "bytes: expected " + std::to_string(frames->frame_bytes()) + ", found " + std::to_string(bytes));
    }
    if (frames->file.replaced()) {
      throw Failure(FLUOROPOSE_ERROR_REPLACED, frames->file.path() + ": another file has taken its name");
    }
    embed::FramesHeader& header = frames->header();
    const uint64_t n = header.written;  // only its writer changes it
    char* place = frames->file.data() + sizeof(header) + n % header.slots * frames->slot_bytes();
    auto& slot = *reinterpret_cast<embed::FrameSlot*>(place);
    const std::atomic_ref state(slot.state);
    state.store(2 * n + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    std::memcpy(place + sizeof(slot), pixels, bytes);
    slot.number = number;
    slot.time_s = time_s;
    slot.arrived_ns = arrived;
    slot.view = view;
    slot.session = header.session;
    state.store(2 * n + 2, std::memory_order_release);
    std::atomic_ref(header.written).store(n + 1, std::memory_order_release);
    return FLUOROPOSE_OK;
  });
}

void fluoropose_frames_close(fluoropose_frames* frames, int32_t finished) {
  if (frames != nullptr && finished != 0) {
    std::atomic_ref(frames->header().finished).store(1, std::memory_order_release);
  }
  delete frames;
}
