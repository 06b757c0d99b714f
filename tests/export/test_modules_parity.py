"""The modules against what the published code computed on the tiny checkpoint."""

import numpy as np
import pytest
import torch
from tiny_models import golden, largest_error, models, relative_error, snr_db

import tolerances
from parley_export.families.covo_audio.modules import front_end
from parley_export.modules.backbone import penalize
from synthetic_signal import synthetic_signal
from tiny_checkpoint import mean_and_variance, voice

RECENT, PENALTY = 8, 1.05


@pytest.fixture(scope="module")
def tiny():
    return models("tiny")


def tensor(name, file="tiny"):
    return torch.from_numpy(golden(file)[name])


def prompt(tiny, turn):
    """`[1, T, D]`: the turn's prompt with the golden features in its placeholders."""
    ids, features = tensor(f"turn{turn}_input_ids"), tensor(f"turn{turn}_features")
    placeholder = tiny.spec.base_vocab + tiny.spec.specials.index("<|cAUDIO|>")
    assert int((ids == placeholder).sum()) == len(features)
    return ids, tiny.backbone.embed(ids, features, placeholder)


def draw(logits, ids, penalty):
    """Greedy, with both penalties: over the turn's ids, then again over the most recent ones."""
    logits = penalize(penalize(logits, ids, penalty), ids[-RECENT:], penalty)
    return int(logits.argmax())


def converse(tiny, penalty=PENALTY):
    """Both turns on one cache; per turn the first logits `[8, vocab]` and all greedy tokens."""
    cache, carried, turns = None, torch.empty(0, dtype=torch.int64), []
    for turn in (1, 2):
        ids, embeddings = prompt(tiny, turn)
        before = tiny.backbone.model.embed_tokens(carried)[None]
        scores, cache = tiny.backbone(torch.cat([before, embeddings], 1), cache)
        rows, tokens = [], []
        for _ in range(len(golden("tiny")[f"turn{turn}_greedy_tokens"])):
            if tokens:
                last = tiny.backbone.model.embed_tokens(torch.tensor([tokens[-1:]]))
                scores, cache = tiny.backbone(last, cache)
            rows.append(scores[0, -1])
            drawn = torch.tensor(tokens, dtype=torch.int64)
            tokens.append(draw(rows[-1], torch.cat([ids, drawn]), penalty))
        turns.append((torch.stack(rows[:8]), tokens))
        carried = torch.tensor(tokens[-1:])
    return turns


def test_both_turns(tiny):
    for turn, (rows, tokens) in enumerate(converse(tiny), 1):
        assert tokens == golden("tiny")[f"turn{turn}_greedy_tokens"].tolist()
        assert largest_error(rows, tensor(f"turn{turn}_step_logits")) < tolerances.LOGITS_ABS
        prefill = tensor(f"turn{turn}_prefill_logits")
        assert largest_error(rows[0], prefill) < tolerances.LOGITS_ABS


def test_the_penalties_matter(tiny):
    tokens = converse(tiny, penalty=1.0)[1][1]
    assert tokens != golden("tiny")["turn2_greedy_tokens"].tolist()


def test_field(tiny):
    config, seed = tiny.flow.config, int(golden("tiny")["field_in_seed"])
    shape = (2, 30, config.hidden + 2 * config.z)
    inputs = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    speaker = torch.from_numpy(voice(tiny.spec)["speaker_embed.npy"])
    modulation = tiny.flow.modulation(torch.tensor([0.25]), speaker)
    got = tiny.flow.field(torch.from_numpy(inputs), modulation)
    assert relative_error(got, tensor("field_out")) < tolerances.LATENTS_REL


@pytest.fixture(scope="module")
def trajectory(tiny):
    """Latents after each step, `[1, T, z]`, of the golden codes after the voice's prompt."""
    arrays = {name: torch.from_numpy(array) for name, array in voice(tiny.spec).items()}
    codes = torch.cat([arrays["prompt_token.npy"], tensor("t2w_codes")[None]], 1)
    features, latents = tiny.flow.condition(codes), arrays["prompt_latent.npy"]
    condition = torch.zeros(1, features.shape[1], tiny.spec.z)
    condition[:, : latents.shape[1]] = latents
    noise = tensor("t2w_noise")
    return tiny.flow.solve(noise, features, condition, arrays["speaker_embed.npy"])


def test_latents(trajectory):
    first, last = tensor("t2w_latents_first_step"), tensor("t2w_latents")
    assert relative_error(trajectory[0][0], first) < tolerances.LATENTS_REL
    assert relative_error(trajectory[-1][0], last) < tolerances.LATENTS_REL


def test_codes_to_wave(tiny, trajectory):
    mean, variance = torch.from_numpy(mean_and_variance(tiny.spec))[0].chunk(2)
    latents = (trajectory[-1] * variance.sqrt() + mean)[:, tiny.spec.prompt_frames :]
    wave = tiny.vocoder(latents.transpose(1, 2))[0, 0]
    assert snr_db(wave, tensor("t2w_wave")) > tolerances.WAVE_SNR_DB


def test_vocoder(tiny):
    wave = tiny.vocoder(tensor("vocoder_latents")).reshape(-1)
    assert snr_db(wave, tensor("vocoder_wave")) > tolerances.WAVE_SNR_DB


def test_front_end_and_encoder_keep_their_numbers(tiny):
    """Checked against the reference's recordings when synthetic.npz was made."""
    config = front_end.FrontEndConfig()
    signal = torch.from_numpy(synthetic_signal(30720))
    wave = front_end.resample_input(signal, config)
    assert largest_error(wave, tensor("wav16k", "synthetic")) < tolerances.WAVE16K_ABS
    log_mel = front_end.segment_log_mel(wave, config)
    kept = tensor("log_mel", "synthetic")
    assert largest_error(log_mel[:, : kept.shape[1]], kept) < tolerances.LOG_MEL_ABS
    encoded = tiny.encoder(log_mel[None])
    error = relative_error(encoded[0, :64:4], tensor("encoder", "synthetic"))
    assert error < tolerances.ENCODER_REL
    error = relative_error(tiny.adapter(encoded)[0, :8], tensor("features", "synthetic"))
    assert error < tolerances.ENCODER_REL


def test_chunk_form_keeps_its_numbers(tiny):
    config = front_end.FrontEndConfig()
    chunks = front_end.chunk_log_mel(tensor("wav16k", "synthetic"), config)
    assert largest_error(chunks, tensor("chunk_log_mel", "synthetic")) < tolerances.LOG_MEL_ABS
    features = tiny.adapter(tiny.encoder.forward_chunked(chunks[None]))[0]
    error = relative_error(features, tensor("chunk_features", "synthetic"))
    assert error < tolerances.ENCODER_REL
