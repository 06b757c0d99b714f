// Opens, maps, checks and reads the files of a bundle's folder, part by part; knows no manifest.
#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/sha256.h"
#include "base/utf8.h"
#include "parley/errors.hpp"

namespace parley {
namespace {

static_assert(std::endian::native == std::endian::little, "bundles hold little-endian arrays");

constexpr std::size_t kMaxName = 1024;
constexpr std::size_t kMaxPart = 255;

[[noreturn]] void fail(const std::string& expected, const std::string& got,
                       const std::string& todo) {
  throw BundleError("[bundle.open] expected " + expected + ", got " + got + "; " + todo);
}

constexpr const char* kFetchAgain = "fetch or export the bundle again";

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

bool is_link(int folder, const char* part) {
  struct stat info{};
  return ::fstatat(folder, part, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
}

[[noreturn]] void fail_open(const std::string& file, int error, bool link) {
  if (link)
    fail(file + " to be a file of the bundle", "a symbolic link", "put the file in its place");
  if (error == ENOENT || error == ENOTDIR)
    fail("the file " + file, "none of that name", kFetchAgain);
  fail("to read " + file, std::strerror(error), "check the file's permissions and the disk");
}

// Opens part by part, so that no link below the folder is followed.
Descriptor open_below(const std::filesystem::path& folder, const std::string& name) {
  if (const std::string why = why_unsafe(name); !why.empty()) {
    fail("a file name inside the bundle", "\"" + name + "\", which " + why, kFetchAgain);
  }
  Descriptor at(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (at.get() < 0) {
    fail("the bundle's folder " + folder.string(), std::strerror(errno),
         "give the folder that holds manifest.json");
  }
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    // A pipe in place of a file must not block.
    const int flags = end < name.size() ? O_DIRECTORY : O_NONBLOCK;
    Descriptor next(::openat(at.get(), part.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags));
    if (next.get() < 0) {
      const int error = errno;
      fail_open((folder / name).string(), error, is_link(at.get(), part.c_str()));
    }
    at = std::move(next);
    begin = end + 1;
  }
  return at;
}

struct OpenFile {
  Descriptor descriptor;
  std::size_t size;
};

OpenFile open_regular(const std::filesystem::path& folder, const std::string& name) {
  Descriptor descriptor = open_below(folder, name);
  struct stat info{};
  if (::fstat(descriptor.get(), &info) != 0) fail_open((folder / name).string(), errno, false);
  if (!S_ISREG(info.st_mode)) {
    fail((folder / name).string() + " to be a regular file",
         S_ISDIR(info.st_mode) ? "a folder" : "a device or a pipe", kFetchAgain);
  }
  return {std::move(descriptor), static_cast<std::size_t>(info.st_size)};
}

std::string hash_of(const OpenFile& file, const std::string& path) {
  std::vector<std::byte> buffer(std::size_t{1} << 20U);
  Sha256 sha;
  while (true) {
    const ssize_t n = ::read(file.descriptor.get(), buffer.data(), buffer.size());
    if (n == 0) return sha.hex();
    if (n > 0) {
      sha.update({buffer.data(), static_cast<std::size_t>(n)});
    } else if (errno != EINTR) {
      fail_open(path, errno, false);
    }
  }
}

template <typename T>
std::vector<T> read_array(const std::filesystem::path& folder, const std::string& name,
                          std::int64_t count) {
  const MappedFile file(folder, name);
  const std::size_t size = file.bytes().size();
  if (count < 0 || size % sizeof(T) != 0 || size / sizeof(T) != static_cast<std::size_t>(count)) {
    fail(std::to_string(count) + " numbers of 4 bytes in " + name, std::to_string(size) + " bytes",
         kFetchAgain);
  }
  std::vector<T> values(static_cast<std::size_t>(count));
  if (count > 0) std::memcpy(values.data(), file.bytes().data(), size);
  return values;
}

std::string lower_stem(std::string_view part) {  // what decides whether a name is a device's
  std::string stem(part.substr(0, part.find('.')));
  for (char& c : stem) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return stem;
}

bool is_device(std::string_view part) {
  const std::string stem = lower_stem(part);
  static constexpr std::array<std::string_view, 6> kNames = {"con", "prn",    "aux",
                                                             "nul", "conin$", "conout$"};
  const bool numbered = stem.size() == 4 && (stem.starts_with("com") || stem.starts_with("lpt")) &&
                        stem[3] >= '0' && stem[3] <= '9';
  return numbered || std::find(kNames.begin(), kNames.end(), stem) != kNames.end();
}

}  // namespace

std::string why_unsafe(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxName) return "is longer than " + std::to_string(kMaxName) + " bytes";
  if (name.front() == '/') return "is absolute";
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t n = utf8::sequence_length(name.substr(at));
    if (n == 0) return "is not UTF-8";
    const unsigned char c = static_cast<unsigned char>(name[at]);
    if (c < 0x20 || c == 0x7F) return "holds a control character";
    if (c == '\\') return "holds a backslash";
    if (c == ':') return "holds a colon";
    at += n;
  }
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty()) return "has an empty part";
    if (part == "." || part == "..") return "has a part \"" + std::string(part) + "\"";
    if (part.size() > kMaxPart)
      return "has a part longer than " + std::to_string(kMaxPart) + " bytes";
    if (part.back() == '.' || part.back() == ' ')
      return "has a part that ends with a dot or a space";
    if (is_device(part)) return "is the name of a device on some systems";
    begin = end + 1;
  }
  return {};
}

MappedFile::MappedFile(const std::filesystem::path& folder, const std::string& name) : name_(name) {
  const OpenFile file = open_regular(folder, name);
  size_ = file.size;
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor.get(), 0);
  if (memory == MAP_FAILED) fail_open((folder / name).string(), errno, false);
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::vector<float> read_f32(const std::filesystem::path& folder, const std::string& name,
                            std::int64_t count) {
  std::vector<float> values = read_array<float>(folder, name, count);
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    fail("finite numbers in " + name, "another at index " + std::to_string(bad - values.begin()),
         kFetchAgain);
  }
  return values;
}

std::vector<std::int32_t> read_i32(const std::filesystem::path& folder, const std::string& name,
                                   std::int64_t count) {
  return read_array<std::int32_t>(folder, name, count);
}

void verify_files(const std::filesystem::path& folder, const FileTable& files, bool hashes) {
  for (const auto& [name, entry] : files) {
    const std::size_t size = open_regular(folder, name).size;
    if (size != static_cast<std::size_t>(entry.bytes)) {
      const bool shorter = size < static_cast<std::size_t>(entry.bytes);
      fail(std::to_string(entry.bytes) + " bytes in " + name,
           std::to_string(size) + (shorter ? " (it is truncated)" : " (it is too long)"),
           kFetchAgain);
    }
  }
  if (!hashes) return;
  for (const auto& [name, entry] : files) {
    const std::string hash = hash_of(open_regular(folder, name), (folder / name).string());
    if (hash != entry.sha256) {
      fail("SHA-256 " + entry.sha256 + " of " + name, hash + " (its content was changed)",
           kFetchAgain);
    }
  }
}

}  // namespace parley
