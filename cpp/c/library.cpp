// Errors, versions and logs of the C face.
#include <array>
#include <exception>
#include <new>

#include "handles.h"
#include "parley/log.hpp"

namespace parley::c {

namespace {

// Of a size of its own, so that an error is told where there is no memory to tell it in.
thread_local std::array<char, 2048> last_error{};

void keep(std::string_view text) noexcept {
  std::size_t n = std::min(text.size(), last_error.size() - 1);
  while (n < text.size() && n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0U) == 0x80U) --n;
  std::memcpy(last_error.data(), text.data(), n);
  last_error[n] = '\0';
}

std::int32_t kept(std::int32_t code, const std::exception& error) noexcept {
  keep(error.what());
  return code;
}

constexpr std::array<const char*, 10> kCodes = {"ok",     "bad_input", "bad_bundle", "no_library",
                                                "full",   "cancelled", "no_memory",  "busy",
                                                "closed", "failed"};

}  // namespace

std::int32_t told() noexcept {
  try {
    throw;
  } catch (const BusyError& error) {
    return kept(PARLEY_BUSY, error);
  } catch (const ClosedError& error) {
    return kept(PARLEY_CLOSED, error);
  } catch (const InputError& error) {
    return kept(PARLEY_BAD_INPUT, error);
  } catch (const BundleError& error) {
    return kept(PARLEY_BAD_BUNDLE, error);
  } catch (const LibraryError& error) {
    return kept(PARLEY_NO_LIBRARY, error);
  } catch (const ContextError& error) {
    return kept(PARLEY_FULL, error);
  } catch (const CancelledError& error) {
    return kept(PARLEY_CANCELLED, error);
  } catch (const MemoryError& error) {
    return kept(PARLEY_NO_MEMORY, error);
  } catch (const std::bad_alloc&) {
    keep("[c.call] expected memory, got none; close what is not needed");
    return PARLEY_NO_MEMORY;
  } catch (const std::exception& error) {
    return kept(PARLEY_FAILED, error);
  } catch (...) {
    keep("[c.call] expected parley's errors, got something else thrown; report it");
    return PARLEY_FAILED;
  }
}

void refuse(const char* verb, const std::string& expected_and_got) {
  throw InputError("[" + std::string(verb) + "] " + expected_and_got);
}

void check_size(const char* verb, const void* structure, std::size_t known) {
  constexpr std::uint32_t kMost = 4096;
  std::uint32_t size = 0;
  std::memcpy(&size, structure, sizeof size);
  if (size < sizeof size || size > kMost) {
    refuse(verb, "expected `size` to be the struct's sizeof, got " + std::to_string(size) +
                     "; set it before the call");
  }
  const auto* bytes = static_cast<const unsigned char*>(structure);
  for (std::size_t i = known; i < size; ++i) {
    if (bytes[i] != 0) {
      refuse(verb, "expected fields up to byte " + std::to_string(known) + ", got a value at " +
                       std::to_string(i) + "; use the library that the header belongs to");
    }
  }
}

std::string text_of(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

}  // namespace parley::c

extern "C" {

uint32_t parley_abi(void) {
  return PARLEY_ABI;
}

const char* parley_version(void) {
  return PARLEY_VERSION;
}

const char* parley_last_error(void) {
  return parley::c::last_error.data();
}

const char* parley_code_name(int32_t code) {
  const auto& names = parley::c::kCodes;
  return code < 0 || code >= static_cast<int32_t>(names.size()) ? "unknown" : names.at(code);
}

int32_t parley_set_log(parley_log listener, void* user) {
  return parley::c::guarded([&] {
    if (listener == nullptr) return parley::set_log({});
    parley::set_log([=](parley::LogLevel level, std::string_view library, std::string_view text) {
      listener(user, static_cast<int32_t>(level), std::string(library).c_str(),
               std::string(text).c_str());
    });
  });
}

}  // extern "C"
