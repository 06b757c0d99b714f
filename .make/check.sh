#!/bin/sh
# Finds what the build needs and names what is missing in one line to paste; prints the Python to use.
set -eu

say() { printf '%s\n' "$*" >&2; }

python_is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11; do
    if python_is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
}

# The Debian name of a Python that is new enough: python3, or where that is too old a later one beside it.
python_package() {
  if ! command -v python3 >/dev/null 2>&1; then
    echo python3
    return
  fi
  for version in 3.14 3.13 3.12 3.11; do
    if apt-cache show "python$version" >/dev/null 2>&1; then
      echo "python$version"
      return
    fi
  done
  echo python3
}

# GCC 11 or clang 14: older ones lack parts of C++20 that parley uses.
compiler_works() {
  command -v "${CC:-cc}" >/dev/null 2>&1 || return 1
  printf '%s\n' '#include <span>' '#include <version>' \
    '#if !defined(__cpp_lib_span) || __cplusplus < 202002L' '#error too old' '#endif' \
    '#if !defined(__clang__) && __GNUC__ < 11 || defined(__clang__) && __clang_major__ < 14' \
    '#error too old' '#endif' 'int main() {}' |
    "${CXX:-c++}" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null
}

python=$(find_python)
missing=
compiler_works || missing="g++"
if [ -n "$python" ]; then
  # A Python of its own name (python3.12) has packages of its own name too.
  package=$(basename "$python")
  [ "$package" != python ] || package=python3
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $package-venv"
  "$python" - 2>/dev/null <<'END' || missing="$missing $package-dev"
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
END
else
  package=$(python_package)
  missing="$missing $package $package-venv $package-dev"
fi
missing=${missing# }

if [ -z "$missing" ]; then
  printf '%s\n' "$python"
  exit 0
fi
if [ -n "${PARLEY_CHECK_AGAIN:-}" ]; then
  say "[make.check] expected Python 3.11 or later and g++ 11 or clang 14 (or later), still missing after"
  say "  the installation: $missing; install a newer one and name it: make PYTHON=... CXX=... CC=..."
  exit 1
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "missing: $missing; running as root, so installing it: apt-get install -y $missing"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q $missing; } \
    </dev/null >&2
  PARLEY_CHECK_AGAIN=1 exec "$0"
fi
say "missing: $missing. Paste this line, then run make again:"
say "  sudo apt-get update && sudo apt-get install -y $missing"
exit 1
