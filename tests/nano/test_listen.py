"""What listens and thinks: its training form against the modules, its sequences, its learning."""

from __future__ import annotations

import numpy as np
import pytest

import tolerances

torch = pytest.importorskip("torch")

from train.listen import STAGES, Gauges, Listener  # noqa: E402
from train.listen_model import CHUNK_SAMPLES, WINDOW, encode, think  # noqa: E402
from train.listen_sequence import (  # noqa: E402
    SLOT_AUDIO,
    SLOT_LISTEN,
    SLOT_SPEAK,
    SLOT_TEXT,
    build_sequences,
    first_kept,
    legal_ids,
)
from train.optim import Optimizers  # noqa: E402
from train.vocabulary import BREAK, END_OF_TEXT, N_BYTES, SHIFT, THINK, Vocabulary  # noqa: E402

from parley_export.families.covo_audio.modules.front_end import FrontEndConfig, chunk_log_mel  # noqa: E402

CHUNKS = 20
WORDS = Vocabulary(("blue", "is", "the"))


@pytest.fixture(scope="module")
def listener() -> Listener:
    torch.manual_seed(0)
    return Listener(WORDS, n_phones=5, n_words=4)


@pytest.fixture(scope="module")
def log_mel(listener: Listener) -> torch.Tensor:
    wave = 0.1 * torch.randn(2, CHUNK_SAMPLES * CHUNKS, generator=torch.Generator().manual_seed(1))
    return listener.model.log_mel(wave)


def dialogue(chunks: int = CHUNKS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One made-up dialogue: two replies, the second cut off by the end."""
    random = np.random.default_rng(0)
    kinds = np.zeros((1, chunks), np.int64)
    kinds[0, 3:9] = [1, 2, 2, 2, 2, 3]
    kinds[0, 14:] = [1] + [2] * (chunks - 15)
    text = random.integers(-1, len(WORDS.words), (1, chunks))
    return kinds, text, random.integers(0, 512, (1, chunks, 4))


def test_log_mel_is_the_front_ends(listener: Listener) -> None:
    wave = torch.randn(1, CHUNK_SAMPLES * 3, generator=torch.Generator().manual_seed(2))
    found = listener.model.log_mel(wave)[0]
    expected = chunk_log_mel(wave[0], FrontEndConfig(n_mels=listener.model.front.n_mels))
    assert (found - expected).abs().max() < tolerances.PREFIX_EQUALITY


def test_encoder_training_form_is_the_modules(listener: Listener, log_mel: torch.Tensor) -> None:
    with torch.no_grad():
        found = encode(listener.model.encoder, log_mel, torch.zeros(2, dtype=torch.int64))
        expected = listener.model.encoder.forward_chunked(log_mel)
    assert (found - expected).abs().max() < tolerances.PREFIX_EQUALITY


def test_streamed_chunks_equal_the_training_form(listener: Listener, log_mel: torch.Tensor) -> None:
    """Also where encoder positions start over."""
    encoder, adapter = listener.model.encoder, listener.model.adapter
    start = encoder.config.positions - 20
    with torch.no_grad():
        whole = listener.model.features(log_mel, torch.tensor([start, 0]))[1][0]
        state, left, streamed = encoder.create_state(), adapter.create_state(), []
        state.position = torch.tensor([start])
        for chunk in log_mel[:1].split(16, 2):
            frames, state = encoder.step(chunk, state)
            feature, left = adapter.step(frames, left)
            streamed.append(feature[0])
    assert (torch.cat(streamed) - whole).abs().max() < tolerances.PREFIX_EQUALITY


@pytest.mark.parametrize(("chunks", "window"), [(20, 32), (120, WINDOW)])
def test_backbone_training_form_is_the_modules(
    listener: Listener, chunks: int, window: int
) -> None:
    backbone = listener.model.backbone
    sequences = build_sequences(*dialogue(chunks), WORDS, window)
    x = torch.randn(1, sequences.ids.shape[1], backbone.config.width)
    with torch.no_grad():
        found = backbone.lm_head(think(backbone, x, sequences.keep))
        expected = backbone(x, keep=sequences.keep[:, None])[0]
    assert (found - expected).abs().max() < tolerances.PREFIX_EQUALITY


def test_a_sequence_is_read_and_drawn_as_in_a_session() -> None:
    special = WORDS.special
    kinds = np.array([[0, 1, 2, 3, 0]])
    text = np.array([[-1, 2, -1, -1, -1]])
    codes = np.arange(20).reshape(1, 5, 4)
    found = build_sequences(kinds, text, codes, WORDS, 256)
    audio = (WORDS.audio_begin + codes[0]).tolist()
    expected = [-1, special[THINK]]
    expected += [-1, special[SHIFT], WORDS.word_id(2), *audio[1]]
    expected += [-1, special[END_OF_TEXT], *audio[2]]
    expected += [-1, special[BREAK], -1, special[THINK]]
    assert found.ids[0].tolist() == expected
    slots = [SLOT_LISTEN, 0, SLOT_LISTEN, SLOT_TEXT, *[SLOT_AUDIO] * 4, 0]
    slots += [SLOT_SPEAK, *[SLOT_AUDIO] * 4, 0, SLOT_SPEAK, 0, SLOT_LISTEN, 0]
    assert found.slot[0].tolist() == slots
    drawn = found.slot[0] > 0
    assert found.target[0][drawn].tolist() == [i for i in expected if i >= 0]
    assert legal_ids(WORDS)[found.slot[0][drawn], found.target[0][drawn]].all()


class Engine:
    """The session's window, step by step, as cpp/src/session/window.h forgets chunks."""

    def __init__(self, window: int) -> None:
        self.window, self.starts, self.next = window, [], 0
        self.seen: list[int] = []

    def step(self, first: bool, n_draws: int) -> None:
        self.starts.append(self.next)
        begin = self.starts[0]
        fed = (0 if first else 1) + 1 + n_draws - 1  # the last draw waits for the next step
        self.seen += [begin] * fed
        self.next += fed
        while len(self.starts) > 1 and self.next - self.starts[0] > self.window:
            self.starts.pop(0)


@pytest.mark.parametrize("window", [8, 20, 33, 256])
def test_the_mask_is_the_sessions_window(window: int) -> None:
    kinds, text, codes = dialogue(60)
    sequences = build_sequences(kinds, text, codes, WORDS, window)
    engine = Engine(window)
    for chunk, kind in enumerate(kinds[0]):
        engine.step(chunk == 0, {0: 1, 1: 6, 2: 5, 3: 1}[int(kind)])
    keep = sequences.keep[0].numpy()
    for position, first in enumerate(engine.seen):
        assert keep[position].nonzero()[0].tolist() == list(range(first, position + 1))


def test_windows_hold_whole_chunks() -> None:
    starts, first = first_kept(np.array([2, 7, 6, 6, 2]), 8)
    assert starts.tolist() == [0, 1, 8, 14, 20] and first.tolist() == [0, 0, 0, 8, 14]


def test_learns_one_dialogue_by_heart() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    listener = Listener(WORDS, n_phones=5, n_words=4)
    listener.random = np.random.default_rng(0)
    random = np.random.default_rng(0)
    kinds, text, codes = dialogue()
    batch = {
        "wave16k": 0.1 * random.standard_normal((1, CHUNK_SAMPLES * CHUNKS), dtype=np.float32),
        "kinds": kinds,
        "text": text,
        "codes": codes,
        "phones": random.integers(-1, 5, (1, 8 * CHUNKS)),
        "words": random.integers(-1, 4, (1, CHUNKS)),
    }
    optimizers, gauges = Optimizers(listener.model.named_parameters(), 2e-3), Gauges(1.001)
    for step in range(30):
        loss, counts = listener.duplex_loss(batch, STAGES["B"])
        loss.backward()
        optimizers.step(min(1.0, (step + 1) / 5))
        rates = gauges.update(counts)
    assert min(rates[name] for name in ("think", "shift", "break", "word", "code")) > 0.99
    assert rates["false_shift"] < 0.01


def test_a_rollout_reads_as_the_training_does(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a session draws, given back as labels, is what the training form finds most likely."""
    from train.rollout import Conversation

    torch.manual_seed(3)
    features = torch.randn(1, 60, listener.model.config.backbone.width)
    conversation, kinds = Conversation(listener), []
    conversation.legal[:, :N_BYTES] = False  # labels have no bytes
    without_bytes = torch.zeros_like(listener.illegal).masked_fill(~conversation.legal, -1e9)
    monkeypatch.setattr(listener, "illegal", without_bytes)
    with torch.no_grad():
        for feature in features[0]:
            kinds.append(conversation.step(feature))
    codes = np.full((1, 60, 4), -1)
    text = np.full((1, 60), -1)
    special = WORDS.special
    assert len(set(kinds)) > 1
    for reply in conversation.replies:
        codes[0, reply.first : reply.first + len(reply.codes)] = reply.codes
    drawn = iter([i for reply in conversation.replies for i in reply.texts])
    for chunk, kind in enumerate(kinds):
        if kind in (1, 2):
            token = next(drawn)
            text[0, chunk] = -1 if token == special[END_OF_TEXT] else token - N_BYTES
    sequences = build_sequences(np.array([kinds]), text, codes, WORDS, WINDOW)
    with torch.no_grad():
        hidden = listener.model.read(features, sequences.ids, sequences.chunk, sequences.keep)
        logits, target = listener.draws(hidden, sequences)
    best = logits.max(-1).values - logits.gather(1, target[:, None])[:, 0]
    assert best.max() < tolerances.PREFIX_EQUALITY


def test_the_shipped_bundle_gives_its_weights_back() -> None:
    """What is read back hears as the bundle's own graph does."""
    pytest.importorskip("onnx")
    pytest.importorskip("gguf")
    ort = pytest.importorskip("onnxruntime")
    from train.listen import open_listener
    from train.shipped import BUNDLE, load_shipped, shipped_ears

    model = open_listener(shipped_ears()).model
    load_shipped(model)
    wave = 0.1 * torch.randn(1, CHUNK_SAMPLES, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        log_mel = model.log_mel(wave)
        expected = model.features(log_mel, torch.tensor([0]))[1][0, 0].numpy()
    session = ort.InferenceSession(BUNDLE / "encoder_chunk.onnx")
    feeds = {"log_mel": log_mel.numpy()}
    for given in session.get_inputs()[1:]:
        kind = np.int64 if "int64" in given.type else np.float32
        feeds[given.name] = np.zeros(given.shape, kind)
    found = session.run(["features"], feeds)[0][0, 0]
    assert np.abs(found - expected).max() < tolerances.HALF_FEATURES * np.abs(expected).max()
    assert model.backbone.lm_head.weight.isfinite().all()


def test_only_words_and_codes_are_forgotten(listener: Listener) -> None:
    special = WORDS.special
    heard_and_decided = [-1, special[THINK], special[SHIFT], special[BREAK], special[END_OF_TEXT]]
    said = [WORDS.word_id(0), WORDS.word_id(2), WORDS.audio_begin, WORDS.size - 1]
    ids = torch.tensor([heard_and_decided + said] * 200)
    torch.manual_seed(3)
    forgotten = listener.forget(ids, 0.25) != ids
    assert not forgotten[:, : len(heard_and_decided)].any()
    share = forgotten[:, len(heard_and_decided) :].float().mean()
    assert 0.2 < share < 0.3
    assert torch.equal(listener.forget(ids, 0.0), ids)


def test_some_bands_are_hidden_from_their_start_to_their_end(listener: Listener) -> None:
    log_mel = torch.randn(50, 128, 40, generator=torch.Generator().manual_seed(4))
    assert listener.hide_bands(log_mel, 0) is log_mel
    changed = listener.hide_bands(log_mel, 16) != log_mel
    assert torch.equal(changed.all(-1), changed.any(-1))
    counts = changed.all(-1).sum(1)
    assert counts.max() <= 32 and 8 < counts.float().mean() < 24
