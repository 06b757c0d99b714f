"""The training of the half-duplex sister: its layout, its features, its losses, over tones."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_bank import write_bank

torch = pytest.importorskip("torch")

from train.dialogues import DialogueSampler  # noqa: E402
from train.listen import Listener  # noqa: E402
from train.listen_model import AdapterConfig, EncoderConfig  # noqa: E402
from train.scene import Answer  # noqa: E402
from train.vocabulary import Vocabulary  # noqa: E402
from train.whole_turns import (  # noqa: E402
    Conversations,
    Layout,
    WholeTurns,
    reply_ids,
    turn_log_mel,
)

from parley_export.families.covo_audio.modules.front_end import (  # noqa: E402
    FrontEndConfig,
    count_features,
)

VOCABULARY = Vocabulary(("one", "two", "three", "four", "five", "six", "seven"))


def test_a_reply_is_five_words_and_fifteen_codes_in_turn() -> None:
    words = np.array([0, -1, 1, 2, 3, 4, -1, 5, 6, -1], np.int16)
    codes = np.arange(40, dtype=np.int16).reshape(10, 4)
    ids = reply_ids(Answer(0, words, codes), VOCABULARY)
    audio = VOCABULARY.audio_begin
    assert VOCABULARY.text(ids[:5]) == "one two three four five"
    assert ids[5:20] == [audio + k for k in range(15)]
    assert VOCABULARY.text(ids[20:22]) == "six seven"
    assert ids[22:] == [audio + k for k in range(15, 40)]


def test_prompts_are_the_familys() -> None:
    layout = Layout.of(VOCABULARY)
    special = VOCABULARY.special
    assert layout.first[0][0] == special["<|im_start|>"]
    for before, behind in (layout.first, layout.next):
        assert before[-1] == special["<|begofcAUDIO|>"]
        assert behind[:2] == [special["<|endofcAUDIO|>"], special["<|im_end|>"]]
        assert len(behind) == 4 + len("assistant\n")
    assert layout.end == special["<|im_end|>"]


@pytest.mark.parametrize("n", [16000, 16001, 40000])
def test_a_turn_is_heard_as_the_engine_hears_it_without_silence(n: int) -> None:
    front = FrontEndConfig()
    log_mel, n_features = turn_log_mel(torch.zeros(n), front)
    assert n_features == count_features(n * 3 // 2, front)
    assert log_mel.shape == (front.n_mels, 16 * (n_features + 1))


def test_a_step_lowers_the_loss_of_every_part(tmp_path: Path) -> None:
    bank = write_bank(tmp_path)
    vocabulary = Vocabulary(tuple(bank.reply_words))
    ears = (
        EncoderConfig(width=64, layers=1, heads=1, ffn_width=64, n_mels=80, positions=1500),
        AdapterConfig(width=64, out_width=256, hidden=64),
    )
    torch.manual_seed(0)
    listener = Listener(vocabulary, n_phones=2, n_words=2, ears=ears)
    trained = WholeTurns(listener, Conversations(DialogueSampler(bank, "train", 3), vocabulary))
    rows, targets = trained.conversation()
    assert len(rows) == len(targets)
    loss, counts = trained.loss()
    assert set(counts) == {"word", "code", "end"}
    assert all(total > 0 for _, total in counts.values())
    loss.backward()
    for part in (listener.model.encoder, listener.model.adapter, listener.model.backbone):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert gradients and all(torch.isfinite(g).all() for g in gradients)
