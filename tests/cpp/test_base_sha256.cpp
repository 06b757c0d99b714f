// SHA-256 against published digests, both codes, any cut; knows no file.
#include "base/sha256.h"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"

using namespace parley;

namespace {

std::string digest(std::string_view text, Sha256::Code code, std::size_t cut = SIZE_MAX) {
  Sha256 sha(code);
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view piece = text.substr(at, cut);
    sha.update(std::as_bytes(std::span(piece)));
    at += piece.size();
  }
  return sha.hex();
}

const Sha256::Code kCodes[] = {Sha256::Code::fastest, Sha256::Code::portable};

}  // namespace

// The digests are those of the examples that NIST publishes beside FIPS 180-4.
TEST(sha256_gives_the_published_digests) {
  const struct {
    std::string text;
    const char* hex;
  } cases[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {std::string(1000000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& c : cases) {
    for (const Sha256::Code code : kCodes) CHECK_EQ(digest(c.text, code), c.hex);
  }
}

TEST(sha256_does_not_depend_on_cuts_or_code) {
  std::mt19937 random(7);
  std::string text(1000, ' ');
  for (char& c : text) c = static_cast<char>(random());
  for (std::size_t n = 0; n < 300; ++n) {
    const std::string whole = digest(text.substr(0, n), Sha256::Code::portable);
    CHECK_EQ(digest(text.substr(0, n), Sha256::Code::fastest), whole);
    for (const Sha256::Code code : kCodes)
      CHECK_EQ(digest(text.substr(0, n), code, 1 + n % 70), whole);
  }
}
