// A file that several programs map into their memory, and the errors of the C interface.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fluoropose::embed {

// What a function of the C interface returns instead of FLUOROPOSE_OK, and why.
struct Failure : std::runtime_error {
  Failure(int32_t status_, const std::string& why) : std::runtime_error(why), status(status_) {}
  int32_t status;
};

// Keeps what fluoropose_problem() says in this thread; returns the status.
int32_t say(int32_t status, const char* why) noexcept;

// Runs the body of a function of the C interface, out of which no exception may come.
template <typename Body>
int32_t guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (const Failure& failure) {
    return say(failure.status, failure.what());
  } catch (const std::exception& error) {
    return say(-1, error.what());
  }
}

class MappedFile {
 public:
  // Maps the whole file. With `writes`, takes the lock that says who its only writer is.
  MappedFile(const std::string& path, bool writes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() const { return data_; }
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Whether another file has taken its name, which nobody who maps this one will see.
  bool replaced() const;

 private:
  std::string path_;
  int file_ = -1;
  char* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t device_ = 0, inode_ = 0;
};

bool exists(const std::string& path);

// Makes a file of `size` bytes, zero after its header; it appears under its name when it is complete.
void create_file(const std::string& path, const void* header, uint64_t header_size, uint64_t size);

}  // namespace fluoropose::embed
