#!/bin/sh
# Prints CMake's option for a clang that compiles C++20: that of this machine, else that of the package ziglang.
for candidate in clang++ clang++-19 clang++-18 clang++-17 clang++-16; do
  if echo '#include <span>' | "$candidate" -std=c++20 -x c++ -fsyntax-only - 2>/dev/null; then
    echo "-DCMAKE_CXX_COMPILER=$candidate"
    exit
  fi
done
echo "-DPARLEY_PORTABLE=ON"
