# Takes clang, libc++ and the C library's symbols as of glibc 2.28 from the Python package ziglang: what it
# builds runs on every Linux since 2018 of the same processor family. Include it before project().
set(PARLEY_ZIG "" CACHE FILEPATH "The program zig; empty: that of the Python package ziglang")
set(zig "${PARLEY_ZIG}")
if(NOT zig)
  set(python ${Python_EXECUTABLE})
  if(NOT python)
    find_program(PARLEY_PYTHON_PROGRAM NAMES python3 python REQUIRED)
    set(python ${PARLEY_PYTHON_PROGRAM})
  endif()
  execute_process(
    COMMAND ${python} -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig')"
    OUTPUT_VARIABLE zig OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT zig)
    message(FATAL_ERROR "[cmake.configure] expected the Python package ziglang beside ${python}, found none; "
                        "do `pip install ziglang`, or build with your own compiler: -DPARLEY_PORTABLE=OFF")
  endif()
endif()

# CMake wants one program per tool, at a place that stays. What zig compiles of libc++ is kept for all builds.
set(tools ${CMAKE_BINARY_DIR}/zig)
cmake_host_system_information(RESULT arch QUERY OS_PLATFORM)
foreach(tool cc c++ ar ranlib)
  set(options "")
  if(tool MATCHES "^c")
    # Without -g0 zig writes debug information always. It compiles its libc++ (40 s) for every pair of optimised or
    # not, stripped or not: -O2 and -s, also where CMake tries the compiler, leave one.
    set(options "-target ${arch}-linux-gnu.2.28 -g0 -O2 -s")
  endif()
  file(WRITE ${tools}/${tool} "#!/bin/sh
export ZIG_GLOBAL_CACHE_DIR=\"\${XDG_CACHE_HOME:-$HOME/.cache}/parley/zig\" ZIG_LOCAL_CACHE_DIR='${tools}/cache'
exec '${zig}' ${tool} ${options} \"$@\"
")
  file(CHMOD ${tools}/${tool} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endforeach()
set(CMAKE_C_COMPILER ${tools}/cc CACHE FILEPATH "")
set(CMAKE_CXX_COMPILER ${tools}/c++ CACHE FILEPATH "")
set(CMAKE_AR ${tools}/ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${tools}/ranlib CACHE FILEPATH "")
