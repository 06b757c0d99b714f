// Which form of an operation is the fastest on this machine, by measurement; knows no operation.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace parley::ort {

enum class Form : std::uint8_t { own, library };  // our kernel, or ONNX Runtime's own operator

// What was measured, and what follows from it. An operation is measured once: all its calls have
// one form from then on, so that its numbers do not change under way.
class Forms {
 public:
  // Microseconds that one call took in a form; negative where the form cannot be had.
  using Time = std::function<double(Form)>;

  // `operation`: a name and the sizes that decide, such as "conv1d 24 24 7".
  Form choose(const std::string& operation, const Time& time);
  // What choose() would give without a measurement; nothing where it would measure.
  std::optional<Form> known(const std::string& operation) const;

  // A line for each operation: its name, microseconds of our form and of the library's. read()
  // takes lines for measured here, and leaves out what is none.
  std::string text() const;
  void read(std::string_view text);

 private:
  struct Took {
    double own_us, library_us;
  };
  static Form faster(const Took& took);

  mutable std::mutex mutex_;
  std::map<std::string, Took> took_;
};

// The process's.
Forms& forms();

}  // namespace parley::ort
