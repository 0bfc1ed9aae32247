#include "fluoropose/embed/mapped_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "fluoropose/embed/fluoropose.h"

namespace fluoropose::embed {
namespace {

thread_local std::string problem;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Failure(FLUOROPOSE_ERROR_FILE, path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

int32_t say(int32_t status, const char* why) noexcept {
  try {
    problem = why;
  } catch (...) {  // no memory for words
  }
  return status;
}

MappedFile::MappedFile(const std::string& path, bool writes) : path_(path) {
  file_ = open(path.c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (file_ < 0) fail(path, "cannot be opened");
  try {
    if (writes && flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) throw Failure(FLUOROPOSE_ERROR_BUSY, path + ": another program writes it");
      fail(path, "cannot be locked");
    }
    struct stat about{};
    if (fstat(file_, &about) != 0) fail(path, "cannot be read");
    if (about.st_size < 64) throw Failure(FLUOROPOSE_ERROR_FORMAT, path + ": too short for a ring");
    size_ = static_cast<uint64_t>(about.st_size);
    device_ = about.st_dev;
    inode_ = about.st_ino;
    void* mapped = mmap(nullptr, size_, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file_, 0);
    if (mapped == MAP_FAILED) fail(path, "cannot be mapped");
    data_ = static_cast<char*>(mapped);
  } catch (...) {
    close(file_);
    throw;
  }
}

MappedFile::~MappedFile() {
  munmap(data_, size_);
  close(file_);  // lets go of the lock
}

bool MappedFile::replaced() const {
  struct stat now{};
  if (stat(path_.c_str(), &now) != 0) return false;  // removed, not replaced; whoever maps it may go on
  return now.st_dev != device_ || now.st_ino != inode_;
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void create_file(const std::string& path, const void* header, uint64_t header_size, uint64_t size) {
  const std::string temporary = path + "." + std::to_string(getpid()) + ".partial";
  const int file = open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) fail(temporary, "cannot be made");
  const bool written = write(file, header, header_size) == static_cast<ssize_t>(header_size) &&
                       ftruncate(file, static_cast<off_t>(size)) == 0;
  close(file);
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    const int why = errno;
    unlink(temporary.c_str());
    errno = why;
    fail(path, "cannot be made");
  }
}

}  // namespace fluoropose::embed

uint32_t fluoropose_api_version(void) { return FLUOROPOSE_API_VERSION; }

const char* fluoropose_problem(void) { return fluoropose::embed::problem.c_str(); }
