// Hands what a library says to whoever listens; knows no library.
#pragma once
#include <string_view>

#include "parley/log.hpp"

namespace parley {

// Any thread. Drops line ends at the end of `text`, and what is empty without them.
void tell(LogLevel level, std::string_view library, std::string_view text) noexcept;

}  // namespace parley
