"""The graph contract: its C++ header and its manifest entries."""

from pathlib import Path

from parley_export import contract

HEADER = Path(__file__).parents[2] / "cpp" / "src" / "stages" / "contract.h"


def test_the_engine_holds_the_same_names():
    assert HEADER.read_text() == contract.header(), (
        "run: python -m parley_export.contract > cpp/src/stages/contract.h"
    )


def test_header_names_every_tensor():
    text = contract.header()
    for graph in contract.GRAPHS:
        assert f'kGraph[] = "{graph.name}"' in text
        for tensor in (*graph.inputs, *graph.outputs):
            assert f'"{tensor.name}"' in text


def test_names_are_unique():
    assert len({graph.name for graph in contract.GRAPHS}) == len(contract.GRAPHS)
    for graph in contract.GRAPHS:
        tensors = [
            *graph.inputs,
            *graph.outputs,
            *contract.state_tensors(graph.states, contract.STATE_IN),
            *contract.state_tensors(graph.states, contract.STATE_OUT),
        ]
        assert len({tensor.name for tensor in tensors}) == len(tensors)


def test_unknown_sizes_are_free():
    tensor = contract.TensorContract("inputs", "f32", ("B", 3, "width"))
    assert tensor.resolve({"width": 7}) == {"name": "inputs", "type": "f32", "shape": [-1, 3, 7]}


def test_states_carry_their_first_value():
    state = contract.StateContract("keys", "f32", ("layers", 2), initial=0.5)
    assert state.resolve({"layers": 4}) == {
        "name": "keys",
        "type": "f32",
        "shape": [4, 2],
        "initial": 0.5,
    }
