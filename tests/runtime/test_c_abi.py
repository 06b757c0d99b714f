"""parley.h against what programs compiled with it rely on; a changed struct is told."""

import re

import pytest

import c_abi

HEADER = c_abi.HEADER.read_text()
NOW = c_abi.describe(HEADER)
RECORD = c_abi.RECORDS / f"abi-{c_abi.number(HEADER)}.txt"


def test_the_header_is_the_recorded_one():
    recorded = RECORD.read_text().splitlines()
    gone = c_abi.changed(recorded, NOW)
    assert not gone, "programs in use need these: put them back, or raise PARLEY_ABI"
    assert recorded == NOW, "added: python tests/c_abi.py --write, and commit it"


def test_the_description_holds_what_the_header_does():
    code = re.sub(r"//[^\n]*", "", HEADER)
    assert c_abi.functions(NOW) == set(re.findall(r"(?m)^PARLEY_API [^;(]*?(\w+)\(", code))
    assert len(c_abi.functions(NOW)) > 30
    assert "parley_step.made: byte 4, 4 long" in NOW and "PARLEY_MUTED = 10" in NOW
    assert "parley_step.beside_ns: byte 80, 8 long" in NOW  # behind an array


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  int32_t made;", "  int64_t made;", "parley_step.made: byte 4, 4 long"),
        ("  int32_t floor;", "  int32_t more;\n  int32_t floor;", "parley_step.floor: byte 8"),
        ("  PARLEY_MUTED = 10", "  PARLEY_MUTED = 11", "PARLEY_MUTED = 10"),
        (
            "parley_session_flush(parley_session* session)",
            "parley_session_flush(int32_t s)",
            "flush",
        ),
        ("size_t done, size_t all);", "size_t done);", "parley_progress"),
    ],
    ids=["a field's type", "a field put between", "a constant", "a parameter", "a callback"],
)
def test_what_breaks_a_program_is_told(old, new, named):
    assert HEADER.count(old) >= 1
    gone = c_abi.changed(NOW, c_abi.describe(HEADER.replace(old, new)))
    assert any(named in line for line in gone)


def test_what_is_added_breaks_nothing():
    first = "PARLEY_API uint32_t parley_abi(void);"
    more = HEADER.replace(first, first + "\nPARLEY_API int32_t parley_later(void);")
    more = more.replace("  int64_t beside_ns;", "  int64_t beside_ns;\n  int64_t later_ns;")
    now = c_abi.describe(more)
    assert not c_abi.changed(NOW, now)
    assert set(now) - set(NOW) == {
        "parley_step.later_ns: byte 88, 8 long",
        "int32_t parley_later(void)",
    }


def test_writing_refuses_what_breaks(tmp_path, monkeypatch):
    header = tmp_path / "parley.h"
    monkeypatch.setattr(c_abi, "HEADER", header)
    monkeypatch.setattr(c_abi, "RECORDS", tmp_path)
    header.write_text(HEADER)
    c_abi.write()
    header.write_text(HEADER.replace("  int32_t made;", "  int64_t made;"))
    with pytest.raises(SystemExit, match=r"(?s)parley_step\.made: byte 4.*PARLEY_ABI"):
        c_abi.write()
    header.write_text(header.read_text().replace("PARLEY_ABI 1u", "PARLEY_ABI 2u"))
    c_abi.write()
    assert (tmp_path / "abi-2.txt").exists()
