"""Reads Python and C++ sources for the house rules; knows none of the rules."""

import ast
import re
from pathlib import Path
from typing import NamedTuple


class Function(NamedTuple):
    name: str
    line: int
    length: int
    parameters: int = 0  # C++ only


def python_functions(text: str) -> list[Function]:
    """Every function, decorators left out, nested ones counted by themselves too."""
    return [
        Function(node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def python_imports(text: str) -> set[str]:
    """Dotted names of every module imported anywhere in the file, `from a import b` as `a`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def python_calls(text: str) -> dict[str, int]:
    """Dotted names of what is called, each with the line of one call."""
    return {
        ast.unparse(node.func): node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    }


NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""",
    re.DOTALL,
)


def cpp_code(text: str) -> str:
    """The text with comments and literals blanked, every line where it was."""
    # A quote between digits separates them: 1'000.
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "_", text)
    return NOT_CODE.sub(blank, text)


def blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def cpp_includes(text: str) -> set[str]:
    return set(re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE))


PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n\\]|\\[\s\S])*", re.MULTILINE)
SCOPE = re.compile(
    r"\s*(?:export\s+)?(?:inline\s+)?(namespace|extern)\b|.*\b(class|struct|union|enum)\s"
)


def cpp_functions(text: str) -> list[Function]:
    """Function bodies at namespace or class level, found by their braces."""
    code = PREPROCESSOR.sub(blank, cpp_code(text))
    found: list[Function] = []
    kinds: list[tuple[str, str, int]] = []
    begin = 0
    for match in re.finditer(r"[{};]", code):
        if match[0] == ";" or match[0] == "}":
            if match[0] == "}" and kinds:
                kind, header, start = kinds.pop()
                if kind == "function":
                    line = code.count("\n", 0, start) + 1
                    length = code.count("\n", start, match.start()) + 1
                    name = re.search(r"([\w:~]+|operator\W+)\s*\(", header)
                    parameters = count_parameters(header[name.start() :] if name else header)
                    found.append(Function(name[1] if name else header, line, length, parameters))
                if kind == "value":
                    continue
            begin = match.end()
            continue
        header = code[begin : match.start()]
        label = re.match(r"\s*(?:(?:public|private|protected)\s*:(?!:)\s*)*", header)
        start = begin + (label.end() if label else 0)
        kinds.append((brace_kind(header, [kind for kind, _, _ in kinds]), header.strip(), start))
        if kinds[-1][0] != "value":
            begin = match.end()
    return found


def brace_kind(header: str, outside: list[str]) -> str:
    """What an opening brace opens, told by the words before it."""
    if any(kind != "scope" for kind in outside):
        return "inside"
    if SCOPE.match(header.replace("\n", " ")) and "(" not in re.sub(r"alignas\(.*?\)", "", header):
        return "scope"
    # A member initializer such as `value_{3}` belongs to the header of a constructor.
    after_colon = re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", header)
    if after_colon and re.search(r"\w\s*$", header) and not re.search(r"\)\s*$", header):
        return "value"
    return "function" if "(" in header and not re.match(r"[^(]*=", header) else "scope"


def cpp_positional(text: str) -> dict[str, int]:
    """How many parameters each function that has a body takes."""
    return {function.name: function.parameters for function in cpp_functions(text)}


def count_parameters(header: str) -> int:
    """Of the first list in parentheses; commas inside of brackets separate nothing."""
    depth, commas, empty = 0, 0, True
    for character in header[header.index("(") :].replace("->", "  "):
        depth += (character in "(<[{") - (character in ")>]}")
        if depth == 0:
            break
        commas += depth == 1 and character == ","
        empty = empty and (character in "(" or character.isspace())
    return 0 if empty else commas + 1


def first_line(path: Path) -> str:
    """The first line that isn't an interpreter line or an include guard."""
    lines = path.read_text().splitlines() or [""]
    return lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]


def python_positional(text: str) -> dict[str, int]:
    """How many parameters of each function may be given by position, self and cls aside."""
    return {
        node.name: sum(a.arg not in ("self", "cls") for a in node.args.posonlyargs + node.args.args)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


TOLERANCE_NAMES = ("atol", "rtol", "abs", "rel", "abs_tol", "rel_tol", "tolerance")


def python_tolerances(text: str) -> list[str]:
    """Small numbers that something is compared with, and numbers given as a tolerance by name."""
    nodes = list(ast.walk(ast.parse(text)))
    compared = [part for node in nodes if isinstance(node, ast.Compare) for part in ast.walk(node)]
    values = [part.value for part in compared if isinstance(part, ast.Constant)]
    given = [k for k in nodes if isinstance(k, ast.keyword) and k.arg in TOLERANCE_NAMES]
    named = [(k.arg, k.value.value) for k in given if isinstance(k.value, ast.Constant)]
    return [repr(v) for v in values if isinstance(v, float) and 0 < abs(v) < 0.01] + [
        f"{name}={value}" for name, value in named if value
    ]
