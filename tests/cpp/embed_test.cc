// The C interface against rings that are made byte by byte here.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fluoropose/embed/fluoropose.h"
#include "fluoropose/embed/layout.h"

namespace fluoropose::embed {
namespace {

class Embed : public testing::Test {
 protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() / ("fluoropose_embed_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder);
    frames = folder / "frames";
    poses = folder / "poses";
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::filesystem::path folder;
  std::string frames, poses;
};

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
T at(const std::vector<char>& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

fluoropose_layout layout(uint32_t width = 5, uint32_t height = 3, uint32_t bits = 12, uint32_t slots = 4) {
  return {sizeof(fluoropose_layout), width, height, bits, slots};
}

fluoropose_frames* opened(const std::string& path, const fluoropose_layout& wanted) {
  fluoropose_frames* ring = nullptr;
  EXPECT_EQ(fluoropose_frames_open(path.c_str(), &wanted, &ring), FLUOROPOSE_OK) << fluoropose_problem();
  return ring;
}

// A ring of poses as a service makes it, with `slots` slots and pose n numbered 100 + n.
void write_poses(const std::string& path, uint32_t slots, uint64_t written, uint32_t version = kRingVersion,
                 uint64_t torn = UINT64_MAX) {
  PosesHeader header{};
  std::memcpy(header.magic, kPosesMagic, 8);
  header.version = version;
  header.slots = slots;
  header.slot_bytes = 704;
  header.written = written;
  std::vector<char> file(sizeof(header) + slots * 704);
  std::memcpy(file.data(), &header, sizeof(header));
  for (uint64_t n = 0; n < written; ++n) {
    fluoropose_pose pose{};
    pose.number = 100 + n;
    pose.time_s = 0.5;
    pose.phase = FLUOROPOSE_TRACKING;
    pose.world_from_bone[3] = 7.0;
    std::memset(pose.reason, 'x', sizeof(pose.reason));
    const uint64_t state = 2 * n + (n == torn ? 1 : 2);
    char* slot = file.data() + sizeof(header) + n % slots * 704;
    std::memcpy(slot, &pose, sizeof(pose));
    std::memcpy(slot, &state, sizeof(state));
  }
  // In place, as a service that goes on does.
  std::ofstream(path,
                std::filesystem::exists(path) ? std::ios::in | std::ios::out | std::ios::binary : std::ios::binary)
      .write(file.data(), static_cast<std::streamsize>(file.size()));
}

TEST_F(Embed, AFrameIsWrittenAsDocumented) {
  fluoropose_frames* ring = opened(frames, layout());
  const std::vector<uint16_t> pixels = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 4095};
  for (uint64_t k = 0; k < 5; ++k) {
    ASSERT_EQ(fluoropose_frames_write(ring, k % 2, 40 + k, 0.25 * static_cast<double>(k), pixels.data(), 30),
              FLUOROPOSE_OK);
  }
  const std::vector<char> file = bytes_of(frames);
  ASSERT_EQ(file.size(), 64 + 4 * (64 + 64));
  EXPECT_EQ(std::memcmp(file.data(), kFramesMagic, 8), 0);
  EXPECT_EQ(at<FramesHeader>(file, 0).written, 5);
  EXPECT_EQ(at<FramesHeader>(file, 0).session, 1);
  const auto slot = at<FrameSlot>(file, 64);  // the fifth has taken the place of the first
  EXPECT_EQ(slot.state, 10);
  EXPECT_EQ(slot.number, 44);
  EXPECT_EQ(slot.time_s, 1.0);
  EXPECT_EQ(slot.view, 0);
  EXPECT_EQ(slot.session, 1);
  EXPECT_EQ(at<uint16_t>(file, 64 + 64 + 28), 4095);
  fluoropose_frames_close(ring, 1);
  EXPECT_EQ(at<FramesHeader>(bytes_of(frames), 0).finished, 1);
}

TEST_F(Embed, AWriterThatComesBackGoesOn) {
  const std::vector<uint8_t> pixels(15);
  for (uint32_t session = 1; session < 4; ++session) {
    fluoropose_frames* ring = opened(frames, layout(5, 3, 8));
    ASSERT_EQ(fluoropose_frames_write(ring, 0, 0, 0.0, pixels.data(), 15), FLUOROPOSE_OK);
    const auto header = at<FramesHeader>(bytes_of(frames), 0);
    EXPECT_EQ(header.session, session);
    EXPECT_EQ(header.written, session);
    EXPECT_EQ(header.finished, 0);
    fluoropose_frames_close(ring, 1);
  }
}

TEST_F(Embed, ARingCanBeTakenAsItIs) {
  fluoropose_frames_close(opened(frames, layout()), 0);
  fluoropose_frames* ring = nullptr;
  ASSERT_EQ(fluoropose_frames_open(frames.c_str(), nullptr, &ring), FLUOROPOSE_OK);
  fluoropose_layout found = layout(0, 0, 0, 0);
  ASSERT_EQ(fluoropose_frames_layout(ring, &found), FLUOROPOSE_OK);
  EXPECT_EQ(found.width_px, 5);
  EXPECT_EQ(found.height_px, 3);
  EXPECT_EQ(found.bits, 12);
  EXPECT_EQ(found.slots, 4);
  fluoropose_frames_close(ring, 0);
}

TEST_F(Embed, WhatIsWrongIsSaid) {
  fluoropose_frames* ring = opened(frames, layout());
  fluoropose_frames* other = nullptr;
  const std::vector<uint16_t> pixels(15);
  const auto says = [](int32_t found, int32_t expected, const std::string& words) {
    EXPECT_EQ(found, expected);
    EXPECT_NE(std::string(fluoropose_problem()).find(words), std::string::npos) << fluoropose_problem();
  };
  fluoropose_layout wanted = layout();
  says(fluoropose_frames_open(frames.c_str(), &wanted, &other), FLUOROPOSE_ERROR_BUSY, "another program writes it");
  says(fluoropose_frames_write(ring, 2, 0, 0.0, pixels.data(), 30), FLUOROPOSE_ERROR_ARGUMENT,
       "expected 0 or 1, found 2");
  says(fluoropose_frames_write(ring, 0, 0, 0.0, pixels.data(), 29), FLUOROPOSE_ERROR_ARGUMENT, "expected 30, found 29");
  says(fluoropose_frames_write(ring, 0, 0, 0.0, nullptr, 30), FLUOROPOSE_ERROR_ARGUMENT, "NULL");
  says(fluoropose_frames_write(ring, 0, 0, 0.0 / 0.0, pixels.data(), 30), FLUOROPOSE_ERROR_ARGUMENT, "finite");
  EXPECT_EQ(at<FramesHeader>(bytes_of(frames), 0).written, 0);
  std::filesystem::rename(frames, folder / "moved");
  fluoropose_frames_close(opened(frames, layout()), 0);
  says(fluoropose_frames_write(ring, 0, 0, 0.0, pixels.data(), 30), FLUOROPOSE_ERROR_REPLACED, "has taken its name");
  fluoropose_frames_close(ring, 0);

  wanted = layout(6);
  says(fluoropose_frames_open(frames.c_str(), &wanted, &other), FLUOROPOSE_ERROR_LAYOUT, "expected 6 x 3 pixels");
  wanted = layout(5, 3, 17);
  says(fluoropose_frames_open(frames.c_str(), &wanted, &other), FLUOROPOSE_ERROR_ARGUMENT, "17 bits");
  wanted.struct_size = 4;
  says(fluoropose_frames_open(frames.c_str(), &wanted, &other), FLUOROPOSE_ERROR_ARGUMENT, "struct_size");
  const std::string nowhere = folder / "nowhere";
  says(fluoropose_frames_open(nowhere.c_str(), nullptr, &other), FLUOROPOSE_ERROR_FILE, "No such file");
  EXPECT_EQ(other, nullptr);
}

TEST_F(Embed, AnotherVersionIsRefused) {
  fluoropose_frames_close(opened(frames, layout()), 0);
  std::fstream(frames, std::ios::in | std::ios::out | std::ios::binary).seekp(8).put(2);
  fluoropose_frames* ring = nullptr;
  EXPECT_EQ(fluoropose_frames_open(frames.c_str(), nullptr, &ring), FLUOROPOSE_ERROR_VERSION);
  write_poses(poses, 2, 0, 2);
  fluoropose_poses* reader = nullptr;
  EXPECT_EQ(fluoropose_poses_open(poses.c_str(), &reader), FLUOROPOSE_ERROR_VERSION);
  EXPECT_STREQ(fluoropose_problem(), (poses + ": version: expected 1, found 2").c_str());
  EXPECT_EQ(fluoropose_poses_open(frames.c_str(), &reader), FLUOROPOSE_ERROR_FORMAT);
}

TEST_F(Embed, PosesAreTakenInOrderAndOnce) {
  write_poses(poses, 4, 0);
  fluoropose_poses* reader = nullptr;
  ASSERT_EQ(fluoropose_poses_open(poses.c_str(), &reader), FLUOROPOSE_OK) << fluoropose_problem();
  fluoropose_pose pose{};
  EXPECT_EQ(fluoropose_poses_next(reader, 0.0, &pose), FLUOROPOSE_ERROR_ARGUMENT);  // struct_size
  pose.struct_size = sizeof(pose);
  EXPECT_EQ(fluoropose_poses_next(reader, 0.01, &pose), FLUOROPOSE_TIMEOUT);
  write_poses(poses, 4, 3);
  for (uint64_t number = 100; number < 102; ++number) {
    ASSERT_EQ(fluoropose_poses_next(reader, 0.0, &pose), FLUOROPOSE_OK);
    EXPECT_EQ(pose.number, number);
    EXPECT_EQ(pose.time_s, 0.5);
    EXPECT_EQ(pose.world_from_bone[3], 7.0);
    EXPECT_EQ(std::strlen(pose.reason), 127);  // whatever stands in the file
  }
  double values[FLUOROPOSE_VALUES];
  ASSERT_EQ(fluoropose_poses_next_values(reader, 0.0, values), FLUOROPOSE_OK);
  EXPECT_EQ(values[0], 102);
  EXPECT_EQ(values[4], FLUOROPOSE_TRACKING);
  EXPECT_EQ(values[7 + 3], 7.0);
  EXPECT_EQ(fluoropose_poses_latest(reader, &pose), FLUOROPOSE_TIMEOUT);
  write_poses(poses, 4, 7);
  ASSERT_EQ(fluoropose_poses_latest(reader, &pose), FLUOROPOSE_OK);
  EXPECT_EQ(pose.number, 106);
  fluoropose_poses_close(reader);
}

TEST_F(Embed, WhatIsOvertakenOrTornIsCounted) {
  write_poses(poses, 4, 0);
  fluoropose_poses* reader = nullptr;
  ASSERT_EQ(fluoropose_poses_open(poses.c_str(), &reader), FLUOROPOSE_OK);
  write_poses(poses, 4, 10, kRingVersion, 7);
  fluoropose_pose pose{};
  pose.struct_size = sizeof(pose);
  std::vector<uint64_t> numbers;
  while (fluoropose_poses_next(reader, 0.0, &pose) == FLUOROPOSE_OK) numbers.push_back(pose.number);
  EXPECT_EQ(numbers, (std::vector<uint64_t>{106, 108, 109}));
  EXPECT_EQ(fluoropose_poses_overtaken(reader), 7);
  std::filesystem::rename(poses, folder / "moved");
  write_poses(poses, 4, 0);
  EXPECT_EQ(fluoropose_poses_next(reader, 0.0, &pose), FLUOROPOSE_ERROR_REPLACED);
  fluoropose_poses_close(reader);
}

}  // namespace
}  // namespace fluoropose::embed
