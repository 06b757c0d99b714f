// What ONNX Runtime and llama.cpp have to say while parley uses them: silent until someone listens.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>

namespace parley {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

// `library` is "onnxruntime" or "llama"; `text` is one message without its line end. Both are
// valid during the call. Called on the thread that the message comes from, from several at once;
// must not throw and must not call parley.
using Log = std::function<void(LogLevel level, std::string_view library, std::string_view text)>;

// Of the whole process; an empty one: silence again. Returns when calls of the last one are over,
// so what that one refers to may go.
void set_log(Log log);

}  // namespace parley
