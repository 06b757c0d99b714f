"""Step-Audio 2's modules against what the published code computed on the tiny checkpoint."""

import numpy as np
import pytest
import torch
from step_audio_2_models import models, prompt
from tiny_models import golden, largest_error, relative_error, snr_db

import step_audio_2_layout as layout
import tolerances
from parley_export.families.step_audio_2.modules import front_end
from parley_export.families.step_audio_2.modules.encoder import count_features
from parley_export.families.step_audio_2.modules.flow import BlockPast
from parley_export.modules.backbone import penalize
from parley_export.modules.code_flow import PADDING
from synthetic_signal import synthetic_signal

SPEC = layout.TINY
IDS = {name: SPEC.base_vocab + i for i, name in enumerate(SPEC.specials)}
N_CODES, N_NEW, N_AHEAD = 28, 25, 3  # of a chunk, as published
N_RECENT = 100  # frames that the published cut keeps from the other end
N_OVERLAP, N_OVERLAP_SAMPLES = 8, 3840  # log-mel frames and samples computed twice, as published


@pytest.fixture(scope="module")
def tiny():
    return models()


def tensor(name, file="step_audio_2"):
    return torch.from_numpy(golden(file)[name])


# ------------------------------------------------------------ hearing


def test_front_end_and_encoder_keep_their_numbers(tiny):
    """Checked against the reference's recordings when the file was made."""
    signal = torch.from_numpy(synthetic_signal(20480))
    log_mel, kept = front_end.piece_log_mel(signal), "step_audio_2_synthetic"
    begin = signal[:16000]
    for got, name in (
        (log_mel[:, :100], "log_mel"),
        (front_end.token_log_mel(begin)[:, :100], "prep_s3_log_mel"),
        (front_end.prompt_mel(begin).T[:64], "prep_mel24k"),
        (front_end.speaker_filterbank(begin)[:64], "prep_fbank"),
    ):
        assert largest_error(got, tensor(name, kept)) < tolerances.LOG_MEL_ABS, name
    encoded = tiny.encoder(log_mel[None])
    assert relative_error(encoded[0], tensor("encoder", kept)) < tolerances.ENCODER_REL
    features = tiny.adapter(encoded)[0, : count_features(log_mel.shape[1], 2)]
    assert relative_error(features, tensor("features", kept)) < tolerances.ENCODER_REL


def test_counts():
    frames = [front_end.count_mel_frames(n) for n in tensor("count_samples").tolist()]
    assert frames == tensor("count_frames_of_samples").tolist()
    for hidden, name in ((2, "count_tokens_of_samples"), (0, "count_tokens_of_samples_server")):
        assert [count_features(n, hidden) for n in frames] == tensor(name).tolist()
    counted = [count_features(n, 2) for n in tensor("count_mel_frames").tolist()]
    assert counted == tensor("count_tokens").tolist()


# ------------------------------------------------------------ thinking


def lane(logits, position):
    """The best text token, or in four of five positions the best audio code."""
    first, last = IDS["<audio_0>"], IDS[f"<audio_{SPEC.codes}>"]
    if position % 5 == 0:
        return int(logits[: IDS["<audio_start>"]].argmax())
    return first + int(logits[first : last + 1].argmax())


def generate(tiny, turn, draw, n):
    """`draw(logits, position, ids so far)` n times after a turn's whole prompt."""
    ids = tensor(f"turn{turn}_input_ids")
    features = torch.cat([tensor(f"turn{t}_features") for t in range(1, turn + 1)])
    x = tiny.backbone.embed(ids, features, IDS["<audio_patch>"])
    assert int((ids == IDS["<audio_patch>"]).sum()) == len(features)
    scores, cache = tiny.backbone(x)
    rows, drawn = [], []
    for position in range(n):
        rows.append(scores[0, -1])
        seen = torch.cat([ids, torch.tensor(drawn, dtype=torch.int64)])
        drawn.append(draw(rows[-1], position, seen))
        last = tiny.backbone.model.embed_tokens(torch.tensor([drawn[-1:]]))
        scores, cache = tiny.backbone(last, cache)
    return torch.stack(rows), drawn


@pytest.mark.parametrize("turn", [1, 2])
def test_backbone(tiny, turn):
    expected = tensor(f"turn{turn}_greedy_tokens").tolist()
    rows, tokens = generate(tiny, turn, lambda logits, *_: int(logits.argmax()), len(expected))
    assert tokens == expected
    steps = tensor(f"turn{turn}_step_logits")
    assert largest_error(rows[:8], steps) < tolerances.LOGITS_ABS
    assert largest_error(rows[0], tensor(f"turn{turn}_prefill_logits")) < tolerances.LOGITS_ABS
    expected = tensor(f"turn{turn}_ta4_tokens").tolist()
    assert generate(tiny, turn, lambda logits, i, _: lane(logits, i), len(expected))[1] == expected
    expected = tensor(f"turn{turn}_penalised_tokens").tolist()

    def penalised(logits, _, seen):
        return int(penalize(logits, seen, 1.05).argmax())

    assert generate(tiny, turn, penalised, len(expected))[1] == expected


# ------------------------------------------------------------ speaking: flow


@pytest.fixture(scope="module")
def noise():
    """The solver's start, a row a frame; the prompt's first frame is the first."""
    return torch.from_numpy(np.random.default_rng(2025).standard_normal((1500, 80), np.float32))


def ahead(codes):
    """Codes `[N]` with nothing known behind them, `[1, N + 3]`."""
    return torch.cat([codes, torch.full((N_AHEAD,), PADDING)])[None]


def test_field(tiny):
    draw = np.random.default_rng(int(golden("step_audio_2")["field_in_seed"]))
    drawn = torch.from_numpy(draw.standard_normal((2, 320, 30), np.float32))
    inputs = drawn.transpose(1, 2).clone()
    inputs[:, :, 160:240] = inputs[:, :, 160:240].mean(1, keepdim=True)
    field = tiny.flow.decoder.estimator
    got, _ = field(inputs, field.modulation(torch.tensor([0.25])), field.no_past(2))
    assert relative_error(got, tensor("field_out")) < tolerances.ENCODER_REL


@pytest.fixture(scope="module")
def whole(tiny, noise):
    """(what the codes say, log-mel after each step) of the golden codes behind the voice's."""
    codes, mel, speaker = prompt(SPEC)
    codes = ahead(torch.cat([codes[0], tensor("t2w_codes")]))
    mu, _ = tiny.flow.encode(codes, tiny.flow.encoder.create_state())
    condition = torch.zeros_like(mu)
    condition[:, : mel.shape[1]] = mel
    given = (mu, tiny.flow.speaker(speaker)[:, None], condition)
    return given, tiny.flow.solve(noise[None, : mu.shape[1]], given)[0]


def test_whole_flow(tiny, noise, whole):
    given, trajectory = whole
    assert relative_error(given[0][0], tensor("t2w_mu")) < tolerances.ENCODER_REL
    assert relative_error(given[1][0, 0], tensor("t2w_speaker")) < tolerances.ENCODER_REL
    assert largest_error(tiny.flow.times(), tensor("t2w_times")) < tolerances.SAME_REL
    first, last = trajectory[0][0], trajectory[-1][0]
    assert relative_error(first, tensor("t2w_mel_first_step")) < tolerances.LATENTS_REL
    assert relative_error(last, tensor("t2w_mel")) < tolerances.LATENTS_REL
    field, rows = tiny.flow.decoder.estimator, noise[None, : given[0].shape[1]]
    known = torch.cat([part.expand_as(rows) for part in given], -1)
    inputs = torch.cat([rows.expand(2, -1, -1), torch.cat([known, torch.zeros_like(known)])], -1)
    got, _ = field(inputs, field.modulation(tiny.flow.times()[:1]), field.no_past(2))
    assert relative_error(got, tensor("t2w_field_first")) < tolerances.ENCODER_REL


def published_cut(past, own, n_prompt):
    """All rows, newest chunk first, cut as the published code cuts them."""

    def join(new, old):
        rows = torch.cat([new, old], 2)
        if rows.shape[2] <= n_prompt + N_RECENT:
            return rows
        return torch.cat([rows[:, :, :n_prompt], rows[:, :, -N_RECENT:]], 2)

    return [
        [
            BlockPast(new.carried, join(new.keys, old.keys), join(new.values, old.values))
            for new, old in zip(news, olds, strict=True)
        ]
        for news, olds in zip(own, past, strict=True)
    ]


@pytest.fixture(scope="module")
def streamed(tiny, noise):
    """Log-mel of each chunk, its cache's length, the priming's log-mel and both states."""
    codes, mel, speaker = prompt(SPEC)
    flow, speaker = tiny.flow, tiny.flow.speaker(speaker)[:, None]
    primed = torch.cat([codes, codes[:, :N_AHEAD]], 1)
    mu, state = flow.encode(primed, flow.encoder.create_state())
    trajectory, past = flow.solve(noise[None, : mel.shape[1]], (mu, speaker, mel))
    setup = trajectory[-1][0], state, past
    codes, none, begin = tensor("stream_codes"), torch.zeros(1, 1, 80), 0
    mels, lengths = [], []
    while begin < len(codes):
        chunk = codes[begin : begin + N_CODES]
        given = chunk[None] if len(chunk) == N_CODES else ahead(chunk)
        mu, state = flow.encode(given, state)
        at = past[0][0].keys.shape[2]
        start = noise[None, at : at + mu.shape[1]]
        trajectory, own = flow.solve(start, (mu, speaker, none), past)
        past = published_cut(past, own, mel.shape[1])
        mels.append(trajectory[-1][0])
        lengths.append(past[0][0].keys.shape[2])
        begin += N_NEW if len(chunk) == N_CODES else len(chunk)
    return setup, mels, lengths


def test_streamed_flow(streamed):
    (mel, state, past), mels, lengths = streamed
    assert relative_error(mel, tensor("stream_setup_mel")) < tolerances.LATENTS_REL
    carried = torch.cat([state.lookahead, state.upsampled], 2)[0]
    expected = tensor("stream_setup_conformer_cnn")
    assert relative_error(carried, expected) < tolerances.ENCODER_REL
    carried = torch.stack([block.carried for block in past[0]])
    expected = tensor("stream_setup_estimator_cnn_step0")
    assert relative_error(carried, expected) < tolerances.ENCODER_REL
    assert [len(mel) for mel in mels] == tensor("stream_mel_frames").tolist()
    assert lengths == tensor("stream_estimator_cache_frames").tolist()
    assert relative_error(torch.cat(mels), tensor("stream_mel")) < tolerances.LATENTS_REL


# ------------------------------------------------------------ speaking: vocoder


def test_vocoder(tiny):
    mel = tensor("vocoder_mel").T[None]
    pitch = tiny.vocoder.f0_predictor(mel)[0]
    assert relative_error(pitch, tensor("vocoder_f0")) < tolerances.ENCODER_REL
    source = tiny.vocoder.m_source(pitch[None])[0, 0]
    assert largest_error(source, tensor("vocoder_source")) < tolerances.HARMONIC_SOURCE_ABS
    wave = tiny.vocoder(mel)[0, 0]
    assert snr_db(wave, tensor("vocoder_wave")) > tolerances.HARMONIC_WAVE_SNR_DB
    given = tiny.vocoder.decode(mel, tensor("vocoder_source")[None, None])[0, 0]
    assert snr_db(given, tensor("vocoder_wave")) > tolerances.WAVE_SNR_DB


def test_vocoder_with_noise(tiny, whole):
    mel = whole[1][-1][:, prompt(SPEC)[1].shape[1] :].transpose(1, 2)
    drawn = torch.from_numpy(np.random.default_rng(3).standard_normal((24000, 9), np.float32))
    wave = tiny.vocoder(mel, tiny.vocoder.m_source.mix_noise(drawn))[0, 0]
    assert snr_db(wave, tensor("t2w_wave_noise3")) > tolerances.HARMONIC_WAVE_SNR_DB
    pitch = tiny.vocoder.f0_predictor(mel)[0]
    assert relative_error(pitch, tensor("t2w_f0")) < tolerances.ENCODER_REL


def test_published_stream_of_the_vocoder(tiny, streamed):
    """Each chunk anew from eight frames before it, faded into the one before."""
    fade = torch.from_numpy(np.hamming(2 * N_OVERLAP_SAMPLES).astype(np.float32))
    mel, source, tail, waves = torch.zeros(1, 80, 0), None, None, []
    for i, rows in enumerate(streamed[1]):
        mel = torch.cat([mel[..., -N_OVERLAP:], rows.T[None]], 2)
        drawn = tiny.vocoder.source(mel)
        if source is not None:
            drawn[..., :N_OVERLAP_SAMPLES] = source
        wave = tiny.vocoder.decode(mel, drawn)[0, 0]
        if tail is not None:
            begin = wave[:N_OVERLAP_SAMPLES] * fade[:N_OVERLAP_SAMPLES]
            wave = torch.cat([begin + tail * fade[N_OVERLAP_SAMPLES:], wave[N_OVERLAP_SAMPLES:]])
        source = drawn[..., -N_OVERLAP_SAMPLES:]
        if i < len(streamed[1]) - 1:
            wave, tail = wave[:-N_OVERLAP_SAMPLES], wave[-N_OVERLAP_SAMPLES:]
        waves.append(wave)
    assert [len(wave) for wave in waves] == tensor("stream_chunk_samples").tolist()
    wave = torch.cat(waves)
    assert snr_db(wave, tensor("stream_wave")) > tolerances.HARMONIC_WAVE_SNR_DB
