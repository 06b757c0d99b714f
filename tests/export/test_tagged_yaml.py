"""YAML with tags of Python classes, as plain values."""

import pytest

from parley_export.errors import BundleError
from parley_export.tagged_yaml import read_tagged_yaml

TEXT = """\
__set_seed1: !apply:random.seed [1986]
rate: 24000
codes: 25
flow: !new:some.module.Class
    rate: !ref <rate>
    block: !ref <codes> * 2
    text: !ref <codes> and more
    solver: !new:omegaconf.DictConfig
        content: {guidance: 0.7}
    make: !name:some.module.function
        flag: True
"""


def test_tags_are_dropped_and_references_followed(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(TEXT)
    read = read_tagged_yaml(file, "flow")
    assert read["__set_seed1"] == [1986]
    flow = read["flow"]
    assert (flow["rate"], flow["block"], flow["text"]) == (24000, 50, "25 and more")
    assert flow["solver"] == {"content": {"guidance": 0.7}} and flow["make"] == {"flag": True}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flow: 3", "no section flow"),
        ("[1, 2]", "no section flow"),
        ("flow: {a: !!python/object/apply:os.getcwd []}", "os.getcwd"),
        ("a: !ref <b>\nb: !ref <a>\nflow: {c: !ref <a>}", "recursion"),
        ("flow: [", "expected the node content"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, told):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(BundleError, match=told):
        read_tagged_yaml(file, "flow")
