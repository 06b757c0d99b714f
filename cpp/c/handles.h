// What stands behind the C face's handles, and how calls of it become codes and texts; throws
// nothing out of it.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parley/live.hpp"
#include "parley/parley.h"
#include "parley/parley.hpp"

struct parley_bundle {
  parley::Bundle bundle;
  std::vector<std::string> voices = bundle.voices();
};

struct parley_session {
  // Nothing where a live conversation took it over. A C++ session keeps its bundle itself.
  std::optional<parley::Session> session;
  std::vector<parley::Event> events = {};  // of the last step
  std::vector<std::size_t> texts = {};     // where each one's text begins in `text`
  std::string text = {};                   // all texts, each ended by a 0
};

struct parley_live {
  parley_live(const parley::Bundle& bundle, parley::Session&& session,
              const parley::LiveOptions& options)
      : live(bundle, std::move(session), options) {}

  parley::Live live;
  std::atomic<bool> over{false};
  parley::LiveEvent event = {};  // the last that was taken
};

namespace parley::c {

// Sets this thread's parley_last_error() from the exception that is being handled.
std::int32_t told() noexcept;

template <typename Work>
std::int32_t guarded(const Work& work) noexcept {
  try {
    work();
    return PARLEY_OK;
  } catch (...) {
    return told();
  }
}

[[noreturn]] void refuse(const char* verb, const std::string& expected_and_got);

// What a pointer points to. Throws InputError where there is none.
template <typename T>
T& given(const char* verb, const char* name, T* pointer) {
  if (pointer == nullptr) refuse(verb, std::string("expected ") + name + ", got NULL; pass one");
  return *pointer;
}

// Throws InputError where a struct's `size` is none, or has fields set behind `known` bytes.
void check_size(const char* verb, const void* structure, std::size_t known);

// Options of any version: what the caller doesn't know is 0. NULL: all are.
template <typename T>
T options_of(const char* verb, const T* options) {
  T known{};
  if (options == nullptr) return known;
  check_size(verb, options, sizeof known);
  std::memcpy(&known, options, std::min<std::size_t>(options->size, sizeof known));
  return known;
}

// Fills as much as the caller knows of; its `size` stays.
template <typename T>
void give(const char* verb, T value, T* to) {
  given(verb, "a struct", to);
  if (to->size < sizeof to->size) check_size(verb, to, sizeof value);
  value.size = to->size;
  std::memcpy(to, &value, std::min<std::size_t>(to->size, sizeof value));
}

std::string text_of(const char* text);  // NULL: empty

parley_event event_of(const Event& event, const char* text);

}  // namespace parley::c
