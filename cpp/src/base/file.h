// Files of a bundle, opened so that no name or link leads out of its folder; knows no manifest.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parley {

struct FileEntry {
  std::int64_t bytes = 0;
  std::string sha256;  // 64 lower-case hex digits
};

using FileTable = std::map<std::string, FileEntry>;  // by name relative to the folder

// Why a name cannot be one of a bundle's files; empty where it can: relative, "/" between parts, no
// "..", no empty part, no backslash, colon, control character, device name or trailing dot or
// space.
std::string why_unsafe(std::string_view name);

// A read-only mapping of a regular file. Movable; the bytes live as long as the object.
class MappedFile {
 public:
  // Refuses unsafe names, symbolic links in any part below `folder`, and what is no regular file.
  MappedFile(const std::filesystem::path& folder, const std::string& name);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Reads a raw little-endian array. Throws BundleError where the file does not hold exactly `count`
// numbers, or one that is not finite.
std::vector<float> read_f32(const std::filesystem::path& folder, const std::string& name,
                            std::int64_t count);
std::vector<std::int32_t> read_i32(const std::filesystem::path& folder, const std::string& name,
                                   std::int64_t count);

// Checks that every file is there, regular, of its size and, where `hashes`, of its SHA-256. Throws
// BundleError that names the first bad file (all sizes come before any hash) and what is wrong.
void verify_files(const std::filesystem::path& folder, const FileTable& files, bool hashes);

}  // namespace parley
