// Files of a bundle: names, links, sizes and hashes that must be refused; knows no manifest.
#include "base/file.h"

#include <sys/stat.h>

#include <cstring>
#include <limits>

#include "base/sha256.h"
#include "check.h"
#include "parley/errors.hpp"
#include "scratch_folder.h"

using namespace parley;

namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string bytes_of(const auto& values) {
  std::string bytes(values.size() * sizeof(values[0]), ' ');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

FileEntry entry_of(const std::string& content) {
  Sha256 sha;
  sha.update(std::as_bytes(std::span(content)));
  return {static_cast<std::int64_t>(content.size()), sha.hex()};
}

}  // namespace

TEST(file_names_stay_inside_the_folder) {
  for (const char* good : {"a", "a.onnx", "voices/default/tokens.i32", "..a", "a..b", ".hidden",
                           "日本", "console", "com", "com10", "null.bin"}) {
    CHECK_EQ(why_unsafe(good), "");
  }
  const std::string with_nul("a\0b", 3);
  for (const std::string& bad : {std::string(),          std::string("/etc/passwd"),
                                 std::string(".."),      std::string("../a"),
                                 std::string("a/../b"),  std::string("a/.."),
                                 std::string("."),       std::string("a/./b"),
                                 std::string("a//b"),    std::string("a/"),
                                 std::string("a\\b"),    std::string("C:a"),
                                 std::string("a\nb"),    with_nul,
                                 std::string("nul"),     std::string("NUL.txt"),
                                 std::string("a/Con"),   std::string("lpt1.bin"),
                                 std::string("a."),      std::string("a "),
                                 std::string("a /b"),    std::string("\xFF"),
                                 std::string(2000, 'a'), std::string(300, 'a')}) {
    CHECK(!why_unsafe(bad).empty());
    CHECK_THROWS_MSG(BundleError, "a file name inside the bundle", MappedFile("/tmp", bad));
  }
}

TEST(file_maps_a_regular_file) {
  const ScratchFolder folder;
  folder.write("a/b/c.bin", "hello");
  folder.write("empty", "");
  MappedFile file(folder.path(), "a/b/c.bin");
  CHECK_EQ(text_of(file), "hello");
  MappedFile moved = std::move(file);
  CHECK_EQ(text_of(moved), "hello");
  file = MappedFile(folder.path(), "empty");
  CHECK(file.bytes().empty());
  CHECK_EQ(file.name(), "empty");
}

TEST(file_refuses_links_folders_and_pipes) {
  const ScratchFolder outside;
  outside.write("secret", "x");
  const ScratchFolder folder;
  folder.write("good", "x");
  folder.write("inner/good", "x");
  std::filesystem::create_symlink(outside.path() / "secret", folder.path() / "link");
  std::filesystem::create_symlink("good", folder.path() / "near_link");
  std::filesystem::create_symlink("nowhere", folder.path() / "loose_link");
  std::filesystem::create_directory_symlink(outside.path(), folder.path() / "folder_link");
  for (const char* name :
       {"link", "near_link", "loose_link", "folder_link/secret", "folder_link"}) {
    CHECK_THROWS_MSG(BundleError, "a symbolic link", MappedFile(folder.path(), name));
  }
  REQUIRE(::mkfifo((folder.path() / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_MSG(BundleError, "a device or a pipe", MappedFile(folder.path(), "pipe"));
  CHECK_THROWS_MSG(BundleError, "got a folder", MappedFile(folder.path(), "inner"));
  CHECK_THROWS_MSG(BundleError, "none of that name", MappedFile(folder.path(), "absent"));
  CHECK_THROWS_MSG(BundleError, "none of that name", MappedFile(folder.path(), "good/below"));
  CHECK_THROWS_MSG(BundleError, "the bundle's folder", MappedFile(folder.path() / "no", "good"));
  // Package managers make hard links, and links to the folder itself are the user's own.
  std::filesystem::create_hard_link(outside.path() / "secret", folder.path() / "hard");
  CHECK_EQ(text_of(MappedFile(folder.path(), "hard")), "x");
  std::filesystem::create_directory_symlink(folder.path(), outside.path() / "to_folder");
  CHECK_EQ(text_of(MappedFile(outside.path() / "to_folder", "inner/good")), "x");
}

TEST(file_reads_arrays_of_the_expected_count) {
  const ScratchFolder folder;
  folder.write("f", bytes_of(std::vector<float>{1.5F, -2.0F}));
  folder.write("i", bytes_of(std::vector<std::int32_t>{7, -1, 1 << 30}));
  folder.write("odd", "12345");
  folder.write("nan", bytes_of(std::vector<float>{0.0F, std::numeric_limits<float>::quiet_NaN()}));
  CHECK((read_f32(folder.path(), "f", 2) == std::vector<float>{1.5F, -2.0F}));
  CHECK((read_i32(folder.path(), "i", 3) == std::vector<std::int32_t>{7, -1, 1 << 30}));
  CHECK_THROWS_MSG(BundleError, "3 numbers of 4 bytes in f, got 8 bytes",
                   read_f32(folder.path(), "f", 3));
  CHECK_THROWS_MSG(BundleError, "numbers of 4 bytes", read_i32(folder.path(), "odd", 1));
  CHECK_THROWS_MSG(BundleError, "numbers of 4 bytes", read_f32(folder.path(), "f", -2));
  CHECK_THROWS_MSG(BundleError, "another at index 1", read_f32(folder.path(), "nan", 2));
}

TEST(file_verification_names_the_bad_file) {
  const ScratchFolder folder;
  const std::string big(3000000, 'b');
  folder.write("a.bin", "content");
  folder.write("sub/b.bin", big);
  FileTable files{{"a.bin", entry_of("content")}, {"sub/b.bin", entry_of(big)}};
  verify_files(folder.path(), files, true);

  folder.write("a.bin", "Content");
  verify_files(folder.path(), files, false);  // sizes alone do not see it
  CHECK_THROWS_MSG(BundleError, "of a.bin", verify_files(folder.path(), files, true));
  CHECK_THROWS_MSG(BundleError, "its content was changed",
                   verify_files(folder.path(), files, true));

  folder.write("a.bin", "content");
  folder.write("sub/b.bin", big.substr(1));
  CHECK_THROWS_MSG(BundleError, "3000000 bytes in sub/b.bin, got 2999999 (it is truncated)",
                   verify_files(folder.path(), files, true));
  folder.write("sub/b.bin", big + "b");
  CHECK_THROWS_MSG(BundleError, "it is too long", verify_files(folder.path(), files, false));
  std::filesystem::remove(folder.path() / "sub/b.bin");
  CHECK_THROWS_MSG(BundleError, "sub/b.bin, got none of that name",
                   verify_files(folder.path(), files, false));
  files["../a.bin"] = entry_of("content");
  CHECK_THROWS_MSG(BundleError, "\"../a.bin\"", verify_files(folder.path(), files, false));
}
