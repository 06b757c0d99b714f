"""The tiny checkpoint's GGUF backbone in llama.cpp against what the published code computed."""

import numpy as np
import pytest
from llama_backbone import LlamaBackbone
from tiny_models import golden

from parley_export import backbone_gguf
from parley_export.families.covo_audio import checkpoint
from parley_export.families.covo_audio.prompts import AUDIO_PLACEHOLDER, REQUIRED
from parley_export.tokenizer import read_tokenizer
from parley_export.weights import Shards
from tiny_checkpoint import write_checkpoint
from tolerances import LOGITS_ABS

PENALTY, RECENT = 1.05, 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The placeholder's id, the embedding table [V, D] and the engine."""
    folder = write_checkpoint(tmp_path_factory.mktemp("golden") / "tiny")
    configs = checkpoint.read_configs(checkpoint.locate(folder))
    tokenizer, shards = read_tokenizer(folder, REQUIRED), Shards(folder)
    path = folder.parent / "tiny.gguf"
    backbone_gguf.write_gguf(
        path,
        configs.token_model(tokenizer),
        shards.read,
        precision="f32",
        name="tiny",
    )
    engine = LlamaBackbone(path, n_ctx=2048)
    table = shards.read("llm.model.embed_tokens.weight").numpy()
    yield tokenizer.id_of(AUDIO_PLACEHOLDER), table, engine


def penalized(logits, ids):
    """Once per id; negative scores times, others divided by the penalty."""
    ids = np.unique(ids)
    scores = logits[ids]
    result = logits.copy()
    result[ids] = np.where(scores < 0, scores * PENALTY, scores / PENALTY)
    return result


def test_both_turns(tiny):
    placeholder, table, engine = tiny
    arrays = golden("tiny")
    carried = table[:0]
    for turn in (1, 2):
        ids = arrays[f"turn{turn}_input_ids"].astype(int)
        prompt = table[ids].copy()
        prompt[ids == placeholder] = arrays[f"turn{turn}_features"]
        logits = engine.feed(np.concatenate([carried, prompt]))
        prefill = arrays[f"turn{turn}_prefill_logits"]
        assert np.abs(logits - prefill).max() < LOGITS_ABS
        expected, seen, tokens = arrays[f"turn{turn}_greedy_tokens"].tolist(), ids, []
        for i in range(len(expected)):
            if i:
                logits = engine.feed(table[tokens[-1:]])
            if i < len(arrays[f"turn{turn}_step_logits"]):
                step = arrays[f"turn{turn}_step_logits"][i]
                assert np.abs(logits - step).max() < LOGITS_ABS
            tokens.append(int(penalized(penalized(logits, seen), seen[-RECENT:]).argmax()))
            seen = np.append(seen, tokens[-1])
        assert tokens == expected
        carried = table[tokens[-1:]]
