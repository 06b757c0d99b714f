"""Fun-Audio-Chat's modules against what the published code computed on the tiny checkpoint."""

import numpy as np
import pytest
import torch
from fun_audio_chat_models import BEGIN, IDS, PENALTY, SPEC, Reply, greedy_code, models
from tiny_models import golden, largest_error, relative_error, snr_db

import fun_audio_chat_checkpoint
import tolerances
from fun_audio_chat_layout import PREPROCESSOR
from parley_export.families.fun_audio_chat.modules import front_end
from parley_export.modules.backbone import penalize
from parley_export.modules.code_flow import LOOKAHEAD, PADDING, cosine_times
from synthetic_signal import synthetic_signal

CLIP = PREPROCESSOR["chunk_length"] * front_end.ENCODER_HZ
N_STEPS = 9  # backbone passes whose logits are kept


def tensor(name, file="fun_audio_chat"):
    return torch.from_numpy(golden(file)[name])


# ------------------------------------------------------------ hearing


def test_front_end_and_encoder_keep_their_numbers():
    """Checked against the reference's recordings when the file was made."""
    parts, kept = models(), "fun_audio_chat_synthetic"
    signal = torch.from_numpy(synthetic_signal(69120))
    log_mel = front_end.log_mel(signal, SPEC.n_mels, CLIP)
    seen = log_mel[:, [*range(60), -1]]
    assert largest_error(seen, tensor("log_mel", kept)) < tolerances.LOG_MEL_ABS
    rows = parts.encoder(log_mel[None])
    seen = rows[0, [*range(90, 110), *range(-8, 0)]]
    assert relative_error(seen, tensor("encoder", kept)) < tolerances.ENCODER_REL
    projected = parts.encoder.project(rows)
    assert relative_error(projected[0], tensor("projected", kept)) < tolerances.ENCODER_REL
    n = front_end.count_features(len(signal), SPEC.group)
    features = front_end.place(parts.tower.features(projected)[0], n)
    assert relative_error(features, tensor("features", kept)) < tolerances.ENCODER_REL


def test_a_block_knows_nothing_of_the_others():
    log_mel = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 128, 430), np.float32))
    whole = models().encoder(log_mel)
    parts = [models().encoder(part) for part in log_mel.split(200, 2)]
    assert torch.equal(whole, torch.cat(parts, 1))


def test_counts():
    for samples, frames, rows, _, _, features in tensor("clip_counts").tolist():
        kept = torch.zeros(samples)
        assert front_end.log_mel(kept, SPEC.n_mels, CLIP).shape[1] == frames
        assert (frames + 1) // 2 == rows
        assert front_end.count_features(samples, SPEC.group) == features


def test_counts_that_rounding_makes_one_short():
    assert [front_end.count_features(n * 640, 1) for n in (29, 30, 201)] == [28, 30, 200]


def test_a_turn_without_sound_for_all_its_features():
    """Beyond what the encoder hears at once the published code places zeros."""
    placed = front_end.place(torch.ones(3, 2), 5)
    assert placed.tolist() == [[1, 1]] * 3 + [[0, 0]] * 2
    assert front_end.place(torch.ones(3, 2), 2).shape == (2, 2)


# ------------------------------------------------------------ thinking: both heads


def heard(turn):
    """The features in a turn's prompt."""
    if turn == "s2t":
        return tensor("turn2_features")[len(tensor("turn1_features")) :]
    return tensor(f"{turn}_features")


def spoken(turn):
    """A reply by both heads along the golden tokens, and what the text head said at each step."""
    tokens = tensor(f"{turn}_text_tokens").tolist()
    dictated = iter(tensor("script_crq_codes").flatten().tolist())
    reply = Reply(greedy_code if turn != "script" else lambda *_: next(dictated))
    reply.read(tensor(f"{turn}_input_ids").long(), heard(turn))
    said = [BEGIN]
    for i, token in enumerate(tokens[:-1]):
        said.append(reply.step(token, tokens[i + 1] if turn == "script" else -1))
    return reply, said


@pytest.mark.parametrize("turn", ["turn1", "turn2", "script"])
def test_both_heads(turn):
    """Greedy replies, and one whose codes are dictated: fillers, sound, an end, text alone."""
    reply, said = spoken(turn)
    assert said == tensor(f"{turn}_text_tokens").tolist()
    assert reply.groups == tensor(f"{turn}_crq_codes").tolist()
    assert reply.history == tensor(f"{turn}_codes").tolist()
    for name, rows, tolerance in (
        ("step_logits", reply.logits[:N_STEPS], tolerances.LOGITS_ABS),
        ("code_logits", reply.code_logits[:N_STEPS], tolerances.LOGITS_ABS),
        ("hidden", reply.hidden[:N_STEPS], tolerances.LOGITS_ABS),
        ("step_inputs", reply.inputs[: N_STEPS - 1], tolerances.FEEDBACK_ABS),
    ):
        assert largest_error(torch.stack(rows), tensor(f"{turn}_{name}")) < tolerance, name
    assert largest_error(reply.logits[0], tensor(f"{turn}_prefill_logits")) < tolerances.LOGITS_ABS
    assert largest_error(reply.top, tensor(f"{turn}_crq_prefill_top")) < tolerances.LOGITS_ABS


def test_both_caches_after_a_prompt():
    reply = Reply(greedy_code)
    reply.read(tensor("turn1_input_ids").long(), heard("turn1"))
    for cache, name in ((reply.cache, "turn1_kv_sums"), (reply.head_cache, "turn1_crq_kv_sums")):
        sums = [[part.double().abs().sum() for part in pair] for pair in cache]
        assert relative_error(sums, tensor(name)) < tolerances.ENCODER_REL
    keys = torch.stack([keys[0, :, -10:] for keys, _ in reply.head_cache])
    assert relative_error(keys, tensor("turn1_crq_keys_end")) < tolerances.ENCODER_REL


def test_text_alone():
    backbone, ids = models().backbone, tensor("s2t_input_ids").long()
    logits, cache = backbone(backbone.embed(ids, heard("s2t"), IDS["<|AUDIO|>"]))
    rows, tokens = [logits[0, -1]], [int(logits[0, -1].argmax())]
    while len(tokens) < len(tensor("s2t_text_tokens")):
        x = backbone.model.embed_tokens(torch.tensor([tokens[-1:]]))
        logits, cache = backbone(x, cache)
        rows.append(logits[0, -1])
        tokens.append(int(rows[-1].argmax()))
    assert tokens == tensor("s2t_text_tokens").tolist()
    steps = torch.stack(rows[:N_STEPS])
    assert largest_error(steps, tensor("s2t_step_logits")) < tolerances.LOGITS_ABS


@pytest.mark.parametrize("stream", ["code", "text"])
def test_published_sampling(stream):
    """Penalty, temperature, nucleus: what is left for the draw."""
    logits, history = (tensor(f"sampler_{stream}_{name}") for name in ("logits", "history"))
    scores = penalize(logits, history.long(), PENALTY) / 0.8
    if stream == "text" and history[-1] == BEGIN:
        scores[IDS["<|sil|>"]] = -torch.inf
    order = scores.argsort()
    below = scores[order].softmax(0).cumsum(0) <= 0.1
    below[-1] = False
    scores[order[below]] = -torch.inf
    expected = tensor(f"sampler_{stream}_probs")
    assert largest_error(scores.softmax(0), expected) < tolerances.SAME_REL


def test_folded_layers_are_the_layers():
    """What the bundle holds of the head's neighbours is as good as the two layers each."""
    head, table = models().head, models().tower.embed_tokens.weight
    hidden, text = torch.from_numpy(
        np.random.default_rng(2).standard_normal((2, 6, 64), np.float32)
    )
    weight, bias = head.folded_slots()
    codes = torch.arange(30)
    folded = ((hidden + text) @ weight.T + bias).unflatten(1, (5, -1)).flatten(0, 1)
    rows = folded + table[codes] @ head.input_matching.weight.T
    expected = head.input_matching(head.slots(hidden, text) + table[codes])
    assert relative_error(rows, expected) < tolerances.SAME_REL


# ------------------------------------------------------------ speaking


@pytest.fixture(scope="module")
def given():
    """(rows of the golden codes, all of them final; speaker)."""
    flow, name = models().flow, bytes(golden("fun_audio_chat")["dec_voice_name"]).decode()
    speaker = fun_audio_chat_checkpoint.speaker(name, SPEC.speaker_width)
    codes = torch.nn.functional.pad(tensor("dec_codes").long(), (0, LOOKAHEAD), value=PADDING)
    return flow.ahead(codes[None], flow.no_past())[0], flow.speaker(torch.from_numpy(speaker))


def test_what_the_field_is_given(given):
    rows, speaker = given
    assert relative_error(rows[0], tensor("dec_codes_ahead")) < tolerances.ENCODER_REL
    assert relative_error(speaker[0], tensor("dec_speaker")) < tolerances.ENCODER_REL
    assert largest_error(cosine_times(10), tensor("dec_times")) < tolerances.SAME_REL


def field_inputs():
    """State, condition, codes and speaker as they were drawn, `[2, 70, 320]`."""
    draw = np.random.default_rng(int(golden("fun_audio_chat")["field_in_seed"]))
    x, said, speaker, condition = (
        torch.from_numpy(draw.standard_normal(shape).astype(np.float32))
        for shape in ((2, 80, 70), (2, 80, 70), (2, 80), (2, 80, 70))
    )
    voice = speaker[..., None].expand_as(x)
    return torch.cat([x, condition, said, voice], 1).transpose(1, 2)


@pytest.mark.parametrize("stream", [False, True])
def test_field(stream):
    field = models().flow.decoder.estimator
    mask = field.block_mask(70) if stream else None
    got = field(field_inputs(), field.modulation(torch.tensor([0.25])), mask)
    expected = tensor("field_out_stream" if stream else "field_out")
    assert relative_error(got.transpose(1, 2), expected) < tolerances.ENCODER_REL


def test_flow(given):
    flow, noise = models().flow, tensor("dec_noise").T[None]
    mask = flow.decoder.estimator.block_mask(noise.shape[1])
    first, *_, last = flow.solve(noise, *given)
    assert relative_error(first[0].T, tensor("dec_mel_first_step")) < tolerances.LATENTS_REL
    assert relative_error(last[0].T, tensor("dec_mel")) < tolerances.LATENTS_REL
    streamed = flow.solve(noise, *given, mask)[-1][0].T
    assert relative_error(streamed, tensor("dec_mel_stream")) < tolerances.LATENTS_REL


@pytest.mark.parametrize(("n", "name"), [(35, "dec_mel_open"), (28, "dec_mel_stream_open")])
def test_flow_of_a_reply_that_goes_on(given, n, name):
    flow = models().flow
    rows, _ = flow.ahead(tensor("dec_codes").long()[None, :n], flow.no_past())
    noise = tensor("dec_noise").T[None, : 2 * rows.shape[1]]
    mask = flow.decoder.estimator.block_mask(noise.shape[1]) if "stream" in name else None
    got = flow.solve(noise, rows, given[1], mask)[-1][0].T
    assert relative_error(got, tensor(name)) < tolerances.LATENTS_REL


def drawn(n):
    """The golden noise table as the vocoder takes it."""
    table = torch.from_numpy(fun_audio_chat_checkpoint.source_noise(n))
    return models().vocoder.m_source.mix_noise(table)


def test_vocoder():
    vocoder, mel = models().vocoder, tensor("dec_mel")[None, :, :40]
    pitch = vocoder.f0_predictor(mel)[0]
    assert relative_error(pitch, tensor("hift_f0")) < tolerances.ENCODER_REL
    noise = drawn(40 * 480)
    silent = vocoder.m_source.mix_noise(torch.zeros(40 * 480, 9))
    for given, name in ((noise, "hift_source"), (silent, "hift_source_quiet")):
        got = vocoder.source(mel, given)[0, 0]
        assert largest_error(got, tensor(name)) < tolerances.HARMONIC_SOURCE_ABS
    wave = vocoder(mel, noise)[0, 0]
    assert snr_db(wave, tensor("hift_wave")) > tolerances.HARMONIC_WAVE_SNR_DB
    wave = vocoder.decode(mel, tensor("hift_source")[None, None])[0, 0]
    assert snr_db(wave, tensor("hift_wave")) > tolerances.WAVE_SNR_DB
    # All that the vocoder sees ahead is five frames; the published code holds back eight.
    n = 32 * 480
    assert snr_db(wave[:n], tensor("hift_wave_open")) > tolerances.WAVE_SNR_DB


@pytest.mark.parametrize(("mel", "wave"), [("dec_mel", "offline"), ("dec_mel_stream", "stream")])
def test_codes_to_sound(mel, wave):
    """The published ways, whole at once and in hops, of the same mel."""
    got = models().vocoder(tensor(mel)[None], drawn(70 * 480))[0, 0]
    assert snr_db(got, tensor(f"{wave}_wave")) > tolerances.HARMONIC_WAVE_SNR_DB
