"""llama.cpp for parley: its library in `lib/`, its headers in `include/`; imports nothing."""
