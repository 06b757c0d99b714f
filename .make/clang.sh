#!/bin/sh
# Prints a clang++ that compiles C++20 here; nothing where there is none. Installs nothing.
for candidate in clang++ clang++-19 clang++-18 clang++-17 clang++-16; do
  if echo '#include <span>' | "$candidate" -std=c++20 -x c++ -fsyntax-only - 2>/dev/null; then
    echo "$candidate"
    exit
  fi
done
