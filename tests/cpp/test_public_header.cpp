// The public face compiles by itself, and says what is wrong without any model or library at hand.
#include <parley/parley.hpp>

#include <utility>

#include "check.h"

namespace {

// What an integrator writes; it has to compile against the one header.
[[maybe_unused]] void conversation(const std::string& folder, std::span<const float> in,
                                   std::span<float> out) {
  const parley::Bundle bundle = parley::Bundle::open(folder, {});
  parley::SessionOptions options;
  options.mode = parley::Mode::duplex;
  parley::Session session = bundle.session(options);
  const parley::Step step = session.step(in, out);
  for (const parley::Event& event : step.events) {
    if (event.kind == parley::EventKind::text) std::printf("%s", std::string(event.text).c_str());
  }
  parley::Session moved = std::move(session);
  moved.close();
}

TEST(a_folder_without_a_bundle_is_named) {
  CHECK_THROWS_MSG(parley::BundleError, "/no/such/bundle",
                   parley::Bundle::open("/no/such/bundle", {}));
  CHECK_THROWS_MSG(parley::Error, "[bundle.open]", parley::Bundle::open("/no/such/bundle", {}));
}

}  // namespace
