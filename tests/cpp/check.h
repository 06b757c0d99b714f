// A test helper in one header: tests register themselves and main() runs them; knows nothing of
// parley.
#pragma once
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline int& failures() {  // of the test under way
  static int count = 0;
  return count;
}

// Prints the first ten failures of a test and counts the rest.
inline void fail(const char* file, int line, const std::string& what) {
  if (++failures() <= 10) std::printf("%s:%d: %s\n", file, line, what.c_str());
}

// Ends a test at once: what follows could not work.
struct Stop : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Ends a test that cannot run here; it is counted and printed, so that it is seen.
struct Skip {
  std::string reason;
};

template <typename T>
std::string show(const T& value) {
  if constexpr (requires(std::ostream& out) { out << value; }) {
    std::ostringstream out;
    out.precision(10);
    out << value;
    return out.str();
  } else if constexpr (requires { static_cast<long long>(value); }) {
    return std::to_string(static_cast<long long>(value));  // scoped enumerations
  } else {
    return "(no text form)";
  }
}

template <typename A, typename B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!(a == b)) fail(file, line, std::string(text) + ": " + show(a) + " against " + show(b));
}

inline void near(double a, double b, double tolerance, const char* text, const char* file,
                 int line) {
  if (!(std::abs(a - b) <= tolerance)) {  // a NaN is a failure
    fail(file, line,
         std::string(text) + ": " + show(a) + " against " + show(b) + ", they differ by " +
             show(std::abs(a - b)) + ", allowed are " + show(tolerance));
  }
}

// A plain number of tests/tolerances.py, the one table of them.
inline double tolerance(const std::string& name) {
  const std::string path = __FILE__;
  std::ifstream table(path.substr(0, path.rfind("cpp/")) + "tolerances.py");
  for (std::string line; std::getline(table, line);) {
    if (!line.starts_with(name + " = ")) continue;
    const std::string text = line.substr(name.size() + 3);
    std::size_t end = 0;
    const double number = std::stod(text, &end);
    if (end == text.size()) return number;
  }
  throw Stop("tests/tolerances.py has no plain number " + name);
}

inline int run(int argc, char** argv) {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
  for (const Test& test : tests()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) {
      wanted = wanted || std::string_view(test.name).find(argv[i]) != std::string_view::npos;
    }
    if (!wanted) continue;
    failures() = 0;
    try {
      test.body();
    } catch (const Skip& skip) {
      std::printf("SKIP %s: %s\n", test.name, skip.reason.c_str());
      if (failures() == 0) {
        ++skipped;
        continue;
      }
    } catch (const Stop& stop) {
      fail("", 0, stop.what());
    } catch (const std::exception& error) {
      fail(test.name, 0, std::string("an exception left the test: ") + error.what());
    }
    const bool good = failures() == 0;
    std::printf("%s %s\n", good ? "ok  " : "FAIL", test.name);
    (good ? passed : failed) += 1;
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  std::fflush(stdout);
  return failed == 0 && passed + skipped > 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                  \
  static void test_##name();                                        \
  static const check::Register register_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(...) \
  ((__VA_ARGS__) ? void() : check::fail(__FILE__, __LINE__, "expected " #__VA_ARGS__))

// Like CHECK, but the test ends where it fails.
#define REQUIRE(...) \
  ((__VA_ARGS__) ? void() : throw check::Stop(std::string(__FILE__ ": required ") + #__VA_ARGS__))

#define CHECK_EQ(a, b) check::equal((a), (b), #a " == " #b, __FILE__, __LINE__)

#define CHECK_NEAR(a, b, tolerance) \
  check::near((a), (b), (tolerance), #a " near " #b, __FILE__, __LINE__)

// The expression must throw Type with a message that contains the text.
#define CHECK_THROWS_MSG(Type, text, ...)                                                       \
  do {                                                                                          \
    try {                                                                                       \
      (void)(__VA_ARGS__);                                                                      \
      check::fail(__FILE__, __LINE__, "expected " #Type " from " #__VA_ARGS__ ", got nothing"); \
    } catch (const Type& error) {                                                               \
      if (std::string_view(error.what()).find(text) == std::string_view::npos) {                \
        check::fail(__FILE__, __LINE__,                                                         \
                    std::string("expected the message to contain \"") + (text) + "\", got \"" + \
                        error.what() + "\"");                                                   \
      }                                                                                         \
    } catch (const std::exception& error) {                                                     \
      check::fail(__FILE__, __LINE__,                                                           \
                  std::string("expected " #Type ", got another exception: ") + error.what());   \
    }                                                                                           \
  } while (false)

int main(int argc, char** argv) {
  return check::run(argc, argv);
}
