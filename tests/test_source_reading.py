"""The house rules' reader on small examples, so that a rule which finds nothing could find it."""

import source_reading as reading

CPP = """// A file.
#define LIST(X) \\
  X(one) \\
  X(two)
namespace parley {
class Thing final : public Base {
 public:
  Thing(int n)
      : first_(n),
        second_{1, 2} {
    fill("}{");  // }
  }
  int size() const { return n_; }
  std::array<int, 2> second_{};
};

constexpr std::array kTable = {f(1), f(2)};

void work(int count) {
  for (int i = 0; i < 1'000; ++i) {
    auto twice = [&] { return i + i; };
    twice();
  }
}
}  // namespace parley
"""


def test_cpp_functions_are_found_with_their_length() -> None:
    found = [(f.name, f.line, f.length) for f in reading.cpp_functions(CPP)]
    assert found == [("Thing", 8, 5), ("size", 13, 1), ("work", 19, 6)]


def test_cpp_code_has_neither_comments_nor_literals() -> None:
    code = reading.cpp_code(
        'int a = 1;  // printf(\nchar c = \'"\';  /* exit( */ auto s = "abort(";'
    )
    assert "int a = 1;" in code and code.count("\n") == 1
    assert not any(word in code for word in ("printf", "exit", "abort"))


def test_python_imports_calls_and_parameters() -> None:
    text = "import a.b\nfrom c import d\ndef f(self, x, y=1, *, z):\n    print(os.abort())\n"
    assert reading.python_imports(text) == {"a.b", "c"}
    assert set(reading.python_calls(text)) == {"print", "os.abort"}
    assert reading.python_positional(text) == {"f": 2}
    assert [f.length for f in reading.python_functions(text)] == [2]


def test_tolerances_are_found() -> None:
    text = "assert a < 1e-3\nx = approx(1, abs=0.5)\ny = 10.0\nclose(a, atol=LIMIT)\n"
    assert reading.python_tolerances(text) == ["0.001", "abs=0.5"]
