// The choice between two forms of an operation, with made-up times: needs no library.
#include "runners/ort/forms.h"

#include <vector>

#include "check.h"

using parley::ort::Form;
using parley::ort::Forms;

namespace {

// Hands out the times of each form in turn, the last one again and again, and counts.
struct Clock {
  std::vector<double> own, library;
  std::size_t owns = 0, libraries = 0;

  double operator()(Form form) {
    const std::vector<double>& times = form == Form::own ? own : library;
    std::size_t& at = form == Form::own ? owns : libraries;
    return times[std::min(at++, times.size() - 1)];
  }
};

Form choose(Forms& forms, const char* operation, Clock& clock) {
  return forms.choose(operation, [&](Form form) { return clock(form); });
}

}  // namespace

TEST(the_faster_form_is_taken) {
  Forms forms;
  Clock slow{{5.0}, {4.0}}, fast{{3.0}, {4.0}}, same{{4.0}, {4.0}};
  CHECK(choose(forms, "slow 1", slow) == Form::library);
  CHECK(choose(forms, "fast 1", fast) == Form::own);
  CHECK(choose(forms, "same 1", same) == Form::own);
}

TEST(the_first_calls_and_a_busy_machine_do_not_decide) {
  Forms forms;
  Clock cold{{1.0, 9.0, 50.0, 9.0}, {100.0, 70.0, 8.0, 90.0}};
  CHECK(choose(forms, "cold 1", cold) == Form::library);
  CHECK_EQ(forms.text(), "cold 1 9 8\n");
}

TEST(an_operation_is_measured_once) {
  Forms forms;
  Clock first{{1.0}, {2.0}}, second{{2.0}, {1.0}};
  CHECK(!forms.known("twice 1"));
  choose(forms, "twice 1", first);
  CHECK(forms.known("twice 1") == Form::own);
  CHECK(choose(forms, "twice 1", second) == Form::own);
  CHECK_EQ(second.owns + second.libraries, 0U);
  CHECK(choose(forms, "twice 2", second) == Form::library);
}

TEST(a_form_that_cannot_be_had_is_not_taken) {
  Forms forms;
  Clock none{{5.0}, {-1.0}};
  CHECK(choose(forms, "none 1", none) == Form::own);
  CHECK_EQ(none.libraries, 1U);
  Clock later{{5.0}, {1.0, 1.0, -1.0}};
  CHECK(choose(forms, "later 1", later) == Form::own);
}

TEST(what_was_measured_goes_out_and_comes_in) {
  Forms forms, other;
  Clock slow{{5.5}, {4.25}};
  choose(forms, "conv1d 3 5 7", slow);
  other.read(forms.text() + "\nno line\nalone\nname x y\n 1 2\n");
  CHECK_EQ(other.text(), "conv1d 3 5 7 5.5 4.25\n");
  CHECK(other.known("conv1d 3 5 7") == Form::library);
  Clock unused{{1.0}, {2.0}};
  CHECK(choose(other, "conv1d 3 5 7", unused) == Form::library);
}
