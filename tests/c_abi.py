"""What programs compiled with parley.h rely on: functions, constants, places of fields, as text.

`python tests/c_abi.py --write` puts it into cpp/c/abi-N.txt, N being PARLEY_ABI: only added to,
never changed, while N stays. The test asks that the file holds today's header.
"""

import ctypes
import re
import sys
from pathlib import Path

HEADER = Path(__file__).parents[1] / "cpp/include/parley/parley.h"
RECORDS = HEADER.parents[2] / "c"
TYPES = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def number(header: str) -> int:
    """PARLEY_ABI."""
    return int(re.search(r"#define PARLEY_ABI (\d+)u", header)[1])


def describe(header: str) -> list[str]:
    """One line for each thing that a compiled program has in it, in the header's order."""
    code = re.sub(r"//[^\n]*", "", header)
    types: dict[str, type] = dict(TYPES)
    lines = []
    constants: dict[str, int] = {}
    found = re.compile(
        r"enum\s*\w*\s*\{(?P<values>[^}]*)\}"
        r"|typedef struct (?P<struct>\w+) \{(?P<fields>[^}]*)\}"
        r"|typedef \w+ \(\*(?P<callback>\w+)\)(?P<takes>\([^)]*\))"
        r"|PARLEY_API (?P<function>[^;]*);"
    )
    for match in found.finditer(code):
        if match["values"]:
            new = dict(re.findall(r"(\w+) = (\d+)", match["values"]))
            constants |= {name: int(value) for name, value in new.items()}
            lines += [f"{name} = {value}" for name, value in new.items()]
        elif match["struct"]:
            types[match["struct"]] = structure(match["fields"], types, constants)
            lines += places(match["struct"], types[match["struct"]])
        elif match["callback"]:
            types[match["callback"]] = ctypes.c_void_p
            lines.append(" ".join(match[0].split()))
        else:
            lines.append(" ".join(match["function"].split()))
    return lines


def structure(fields: str, types: dict[str, type], constants: dict[str, int]) -> type:
    members = []
    for line in filter(None, (line.strip() for line in fields.split(";"))):
        kind, names = re.fullmatch(r"((?:const )?\w+\*?) (.*)", " ".join(line.split())).groups()
        base = ctypes.c_void_p if kind.endswith("*") else types[kind]
        for name in names.split(", "):
            field, _, count = name.partition("[")
            length = count.rstrip("]")
            n = constants.get(length) or int(length or 0)
            members.append((field, base * n if n else base))
    return type("Structure", (ctypes.Structure,), {"_fields_": members})


def places(name: str, kind: type) -> list[str]:
    return [
        f"{name}.{field}: byte {getattr(kind, field).offset}, {getattr(kind, field).size} long"
        for field, _ in kind._fields_
    ]


def changed(before: list[str], now: list[str]) -> list[str]:
    """What a program compiled before would miss or find elsewhere."""
    return [line for line in before if line not in now]


def functions(lines: list[str]) -> set[str]:
    return {found[1] for line in lines if (found := re.match(r"[\w *]*\b(parley_\w+)\(", line))}


def write() -> None:
    text = HEADER.read_text()
    now, path = describe(text), RECORDS / f"abi-{number(text)}.txt"
    if path.exists() and (gone := changed(path.read_text().splitlines(), now)):
        sys.exit(
            "[c_abi.write] expected additions alone, got a header without\n  "
            + "\n  ".join(gone)
            + "\nput it back, or raise PARLEY_ABI and the library's SOVERSION"
        )
    path.write_text("\n".join(now) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
