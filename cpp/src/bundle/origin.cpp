// What a saved session says of where it comes from, as bytes and back.
#include "bundle/origin.h"

#include <span>
#include <utility>

#include "base/bytes.h"

namespace parley {

namespace {

constexpr std::size_t kMostText = 1U << 18U;

template <typename T>
void put_optional(ByteWriter& to, const std::optional<T>& value) {
  to.put_flag(value.has_value());
  to.put(value.value_or(T()));
}

template <typename T>
std::optional<T> get_optional(ByteReader& from) {
  const bool has = from.get_flag();
  const T value = from.get<T>();
  return has ? std::optional<T>(value) : std::nullopt;
}

void check(const char* what, const std::string& saved, const std::string& here) {
  if (saved == here) return;
  throw InputError(std::string("[bundle.resume] expected a session that was saved with the same ") +
                   what + ", " + here + ", got " + saved +
                   "; resume it there, or start a new session");
}

}  // namespace

std::string origin_text(const Origin& origin) {
  const SessionOptions& options = origin.options;
  ByteWriter to;
  to.put_text(origin.build);
  to.put_text(origin.bundle);
  to.put_text(origin.settings);
  put_optional(to, options.mode);
  to.put_text(options.voice);
  to.put(options.seed);
  to.put_flag(options.system.has_value());
  to.put_text(options.system.value_or(""));
  to.put_text(options.tools);
  to.put_flag(options.text_only);
  put_optional(to, options.temperature);
  put_optional(to, options.top_k);
  put_optional(to, options.top_p);
  put_optional(to, options.max_new_tokens);
  to.put(options.prefill_budget);
  to.put_flag(options.overlap);
  return {reinterpret_cast<const char*>(to.bytes().data()), to.bytes().size()};
}

SessionOptions options_of(const std::string& text, const Origin& here) {
  ByteReader from(std::as_bytes(std::span(text)));
  check("build", from.get_text(kMostText), here.build);
  check("bundle", from.get_text(kMostText), here.bundle);
  check("settings", from.get_text(kMostText), here.settings);
  SessionOptions options;
  options.mode = get_optional<Mode>(from);
  ByteReader::require(!options.mode || *options.mode <= Mode::duplex, "a mode");
  options.voice = from.get_text(kMostText);
  options.seed = from.get<std::uint64_t>();
  const bool has_system = from.get_flag();
  std::string system = from.get_text(kMostText);
  if (has_system) options.system = std::move(system);
  options.tools = from.get_text(kMostText);
  options.text_only = from.get_flag();
  options.temperature = get_optional<float>(from);
  options.top_k = get_optional<int>(from);
  options.top_p = get_optional<float>(from);
  options.max_new_tokens = get_optional<int>(from);
  options.prefill_budget = from.get<int>();
  options.overlap = from.get_flag();
  return options;
}

std::string build_name() {
  return std::string("parley ") + PARLEY_VERSION + " by compiler " + __VERSION__;
}

}  // namespace parley
