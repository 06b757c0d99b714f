// Which form of an operation is the fastest on this machine, by measurement; knows no operation.
#include "runners/ort/forms.h"

#include <algorithm>
#include <locale>
#include <sstream>

namespace parley::ort {
namespace {

// The least of a few: what else the machine does only adds.
constexpr int kRounds = 5;

}  // namespace

Form Forms::faster(const Took& took) {
  return took.library_us >= 0 && took.library_us < took.own_us ? Form::library : Form::own;
}

Form Forms::choose(const std::string& operation, const Time& time) {
  // Held meanwhile: two measurements at once would disturb each other.
  const std::lock_guard lock(mutex_);
  const auto known = took_.find(operation);
  if (known != took_.end()) return faster(known->second);
  Took took{time(Form::own), time(Form::library)};  // the first calls warm up
  for (int round = 0; round < kRounds && took.library_us >= 0; ++round) {
    const double own = time(Form::own), library = time(Form::library);
    took = round == 0 ? Took{own, library}
                      : Took{std::min(took.own_us, own), std::min(took.library_us, library)};
  }
  took_[operation] = took;
  return faster(took);
}

std::optional<Form> Forms::known(const std::string& operation) const {
  const std::lock_guard lock(mutex_);
  const auto known = took_.find(operation);
  return known == took_.end() ? std::nullopt : std::optional(faster(known->second));
}

std::string Forms::text() const {
  const std::lock_guard lock(mutex_);
  std::ostringstream out;
  out.imbue(std::locale::classic());
  for (const auto& [operation, took] : took_)
    out << operation << ' ' << took.own_us << ' ' << took.library_us << '\n';
  return out.str();
}

void Forms::read(std::string_view text) {
  const std::lock_guard lock(mutex_);
  while (!text.empty()) {
    const std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t last = line.rfind(' ');
    const std::size_t first =
        last == 0 || last == line.npos ? line.npos : line.rfind(' ', last - 1);
    if (first == line.npos || first == 0) continue;
    std::istringstream numbers(line.substr(first));
    numbers.imbue(std::locale::classic());
    Took took{};
    if (numbers >> took.own_us >> took.library_us) took_[line.substr(0, first)] = took;
  }
}

Forms& forms() {
  // Never destroyed: a library's threads may run kernels until the process ends.
  static auto& one = *new Forms;
  return one;
}

}  // namespace parley::ort
