"""Published weights in our modules, and the decoder that reads what the encoder hears."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import tolerances

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")

from train.read_check import number, spelled  # noqa: E402
from train.reader import END, NO_TIMES, START, Reader, once, plain_words, word_errors  # noqa: E402
from train.whisper import WeightsError, build_encoder, parse_weights  # noqa: E402

WIDTH, HEADS, FFN, MELS, POSITIONS, WORDS = 12, 2, 20, 5, 16, 9
TOLERANCE = tolerances.SAME_REL


def variables() -> dict[str, np.ndarray]:
    """A tiny model's variables by CTranslate2's names, in its types."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / 2).astype(np.float16)

    made: dict[str, np.ndarray] = {}

    def linear(name: str, out: int, *into: int) -> None:
        made[f"{name}/weight"], made[f"{name}/bias"] = draw(out, *into), draw(out)

    def norm(name: str) -> None:
        made[f"{name}/gamma"], made[f"{name}/beta"] = draw(WIDTH), draw(WIDTH)

    linear("encoder/conv1", WIDTH, MELS, 3)
    linear("encoder/conv2", WIDTH, WIDTH, 3)
    made["encoder/position_encodings/encodings"] = draw(POSITIONS, WIDTH)
    made["decoder/position_encodings/encodings"] = draw(POSITIONS, WIDTH)
    made["decoder/embeddings/weight"] = draw(WORDS, WIDTH)
    for side in ("encoder", "decoder"):
        made[f"{side}/num_heads"] = np.array(HEADS, np.int16)
        norm(f"{side}/layer_norm")
        for layer in range(2):
            name = f"{side}/layer_{layer}"
            linear(f"{name}/self_attention/linear_0", 3 * WIDTH, WIDTH)
            linear(f"{name}/self_attention/linear_1", WIDTH, WIDTH)
            # The key has no bias of its own.
            made[f"{name}/self_attention/linear_0/bias"][WIDTH : 2 * WIDTH] = 0
            linear(f"{name}/ffn/linear_0", FFN, WIDTH)
            linear(f"{name}/ffn/linear_1", WIDTH, FFN)
            norm(f"{name}/self_attention/layer_norm")
            norm(f"{name}/ffn/layer_norm")
            if side == "decoder":
                linear(f"{name}/attention/linear_0", WIDTH, WIDTH)
                linear(f"{name}/attention/linear_1", 2 * WIDTH, WIDTH)
                linear(f"{name}/attention/linear_2", WIDTH, WIDTH)
                norm(f"{name}/attention/layer_norm")
    return made


def as_file(made: dict[str, np.ndarray]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(made))
    for name, array in made.items():
        kind = {"float16": 4, "int16": 2}[array.dtype.name]
        content += text(name) + struct.pack("<B", array.ndim)
        content += struct.pack(f"<{array.ndim}I", *array.shape)
        content += struct.pack("<BI", kind, array.nbytes) + array.tobytes()
    return content + struct.pack("<I", 0)


def test_a_file_of_weights_is_read_or_refused() -> None:
    made = variables()
    content = as_file(made)
    weights = parse_weights(content)
    assert set(weights) == set(made)
    for name, array in made.items():
        np.testing.assert_array_equal(
            weights[name].numpy(), array.astype(weights[name].numpy().dtype)
        )
    for broken in (content[:100], content[: len(content) // 2], b"\xff" * 40, b""):
        with pytest.raises(WeightsError, match="CTranslate2"):
            parse_weights(broken)


def test_the_encoder_computes_what_the_weights_mean() -> None:
    """Against the formulas of Whisper, written with the file's own names."""
    weights = parse_weights(as_file(variables()))
    mel = torch.randn(1, MELS, 2 * POSITIONS, generator=torch.Generator().manual_seed(0))

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"encoder/{name}/weight"].T + weights[f"encoder/{name}/bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"encoder/{name}/gamma"] + weights[f"encoder/{name}/beta"]

    def conv(x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        weight, bias = (weights[f"encoder/{name}/{kind}"] for kind in ("weight", "bias"))
        return torch.nn.functional.gelu(
            torch.nn.functional.conv1d(x, weight, bias, stride, padding=1)
        )

    x = conv(conv(mel, "conv1", 1), "conv2", 2).mT
    x = x + weights["encoder/position_encodings/encodings"]
    for layer in ("layer_0", "layer_1"):
        normed = norm(x, f"{layer}/self_attention/layer_norm")
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in linear(normed, f"{layer}/self_attention/linear_0").chunk(3, -1)
        )
        seen = (q @ k.mT / (WIDTH / HEADS) ** 0.5).softmax(-1) @ v
        x = x + linear(seen.transpose(1, 2).flatten(-2), f"{layer}/self_attention/linear_1")
        inner = torch.nn.functional.gelu(
            linear(norm(x, f"{layer}/ffn/layer_norm"), f"{layer}/ffn/linear_0")
        )
        x = x + linear(inner, f"{layer}/ffn/linear_1")
    expected = norm(x, "layer_norm")
    found = build_encoder(weights)(mel)
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.fixture(scope="module")
def reader() -> Reader:
    words = {f"w{i}": i for i in range(WORDS - 3)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.add_special_tokens([START, NO_TIMES, END])
    config = {"suppress_ids": [1], "suppress_ids_begin": [2]}
    return Reader(parse_weights(as_file(variables())), tokenizer.to_str(), config)


def test_the_decoder_reads_the_same_with_and_without_its_cache(reader: Reader) -> None:
    frames = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(0))
    heard = [reader.keys_values(frames, f"layer_{i}/attention/linear_1") for i in range(2)]
    tokens = torch.tensor([[*reader.first, 3, 0, 4, 5]] * 3)
    whole = reader.step(tokens, 0, [None, None], heard)
    past: list[tuple[torch.Tensor, torch.Tensor] | None] = [None, None]
    reader.step(tokens[:, :2], 0, past, heard)
    for said in range(1, 5):
        last = reader.step(tokens[:, said + 1 : said + 2], said, past, heard)
    assert (last - whole).abs().max() <= TOLERANCE * whole.abs().max()


def test_what_is_suppressed_is_never_read(reader: Reader) -> None:
    frames = torch.randn(4, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    texts = reader.read(frames)
    assert len(texts) == 4
    for text in texts:
        assert "w1" not in text.split()
        assert text.split()[:1] != ["w2"]
    # A row does not depend on its neighbours.
    assert reader.read(frames[2:3]) == texts[2:3]


def test_words_are_compared_as_said() -> None:
    assert plain_words("It’s TEN, or so.") == ["it's", "ten", "or", "so"]
    assert spelled("At 7:05 mr. Smith paid 1,235") == spelled(
        "at seven five mister smith paid one thousand two hundred thirty-five"
    )
    assert [number(n) for n in (0, 13, 40, 99, 400000)] == [
        "zero", "thirteen", "forty", "ninety nine", "four hundred thousand",
    ]  # fmt: skip
    said = ["turn", "the", "light", "on"]
    assert word_errors(said, said) == 0
    assert word_errors(["turn", "light", "on", "now"], said) == 2
    assert word_errors([], said) == 4
    assert once("to a number number number number number") == "to a number"
    assert once("Stop. Go on. Go on. Go on. Go on") == "Stop. Go on"
    assert once("five five") == "five five"
