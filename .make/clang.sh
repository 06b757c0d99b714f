#!/bin/sh
# Prints a clang++ that can build with the sanitizers, else the usual compiler; installs nothing.
set -eu

trial=$(mktemp)
trap 'rm -f "$trial"' EXIT
for candidate in clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14; do
  if echo '#include <span>' | "$candidate" -std=c++20 -x c++ -fsanitize=address,undefined -shared -fPIC \
    -o "$trial" - 2>/dev/null; then
    echo "$candidate"
    exit
  fi
done
echo "${CXX:-c++}"
