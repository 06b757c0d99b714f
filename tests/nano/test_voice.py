"""The voice trainings on made-up speech: windows, prefixes, names; trains nothing for long."""

import argparse
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from train import flow, flow_latents, latents, optim, shipped_voice, vocoder, voice_data  # noqa: E402

import tolerances  # noqa: E402
from parley_export import loading  # noqa: E402
from parley_export.errors import BundleError  # noqa: E402
from parley_export.families.covo_audio.modules import FlowConfig, FlowField, Vocoder, VocoderConfig  # noqa: E402

torch.set_num_threads(1)
SPLITS = {"train": 6, "sentence": 3, "held": 5, "prompt": 4}  # split -> chunks


def speech(samples, pitch, seed):
    """Harmonics whose loudness moves, int16."""
    time = np.arange(samples) / latents.RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 20))
    slow = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time + seed)
    return (3000 * tone * slow).astype(np.int16)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rows = [{"text": split, "split": split} for split in SPLITS]
    lengths = np.array(list(SPLITS.values())) * voice_data.CODE_SAMPLES * voice_data.CHUNK_CODES
    codes = np.arange(lengths.sum() // voice_data.CODE_SAMPLES) % 512
    waves = {f"wave_{v}": speech(lengths.sum(), p, p) for v, p in (("a", 200), ("b", 120))}
    np.savez(folder / "replies.npz", lengths=lengths, codes=codes.astype(np.int16), **waves)
    (folder / "replies.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def replies(bank):
    return voice_data.load_replies(*voice_data.TRAINING, folder=bank)


@pytest.fixture(scope="module")
def windows(bank, replies):
    prompts = voice_data.load_replies("prompt", folder=bank)
    return flow.Windows(replies, prompts, flow.latent_stats(replies), seed=3)


def test_training_reads_no_held_out_reply(replies):
    assert [(r.voice, r.text) for r in replies] == [
        (voice, text) for voice in (0, 1) for text in ("train", "sentence")
    ]
    for reply in replies:
        assert len(reply.wave) == voice_data.CODE_SAMPLES * len(reply.codes)
    assert (replies[0].codes == replies[2].codes).all()
    assert (replies[0].wave != replies[2].wave).any()


def test_silence_is_zero_and_frames_are_centred():
    wave = np.zeros(20 * latents.HOP, np.int16)
    assert (latents.raw_latents_of(wave) == 0).all()
    wave[10 * latents.HOP + latents.HOP // 2] = 20000
    raw = latents.raw_latents_of(wave)
    assert raw.shape == (20, latents.BANDS)
    assert raw.mean(1).argmax() == 10
    assert np.allclose(raw[9], raw[11], atol=tolerances.LOG_MEL_ABS)
    assert (raw[[7, 13]] == 0).all()


def test_windows_are_the_runtimes(windows, replies):
    """Prompt, then 0, 4 or 8 past codes, then 4 own ones that follow them in one reply."""
    seen = set()
    for _ in range(40):
        batch = windows.batch(4)
        n = batch["codes"].shape[1]
        seen.add(n - flow.PROMPT_CODES)
        assert batch["latents"].shape == (4, 4 * n, latents.BANDS)
        rest = batch["codes"][:, flow.PROMPT_CODES :]
        assert (rest.diff(dim=1) % 512 == 1).all()  # the made-up codes count upwards
        starts = {int(r.codes[0]) for r in replies}
        if n - flow.PROMPT_CODES < flow.PAST_CODES + flow.CHUNK_CODES:
            assert set(rest[:, 0].tolist()) <= starts
        assert not set(rest.flatten().tolist()) & set(range(36, 72))  # held, prompt
    assert seen == {4, 8, 12}


def test_voice_files_hold_the_prompt(windows, tmp_path):
    flow.write_voices(windows, tmp_path / "voices")
    a, b = (flow.read_voice(name, tmp_path) for name in ("a", "b"))
    assert (a["tokens"] == b["tokens"]).all() and len(a["tokens"]) == flow.PROMPT_CODES
    assert (a["latents"] != b["latents"]).any() and (a["speaker"] * b["speaker"]).sum() == 0
    stats = flow.read_stats(tmp_path)
    assert (stats.mean == windows.stats.mean).all() and (stats.var == windows.stats.var).all()


def test_streaming_never_looks_ahead(windows, tmp_path):
    torch.manual_seed(0)
    field = FlowField(flow.CONFIG).eval().requires_grad_(False)
    flow.write_voices(windows, tmp_path / "voices")
    voice, codes = flow.read_voice("a", tmp_path), torch.arange(24)
    whole = flow.stream(field, voice, codes)
    assert whole.shape == (96, latents.BANDS)
    assert torch.equal(flow.stream(field, voice, codes[:16]), whole[:64])
    # Past codes beyond the window are forgotten.
    other = torch.cat([codes[:4] + 100, codes[4:]])
    assert torch.equal(flow.stream(field, voice, other)[64:], whole[64:])


def test_training_attention_is_the_modules(windows):
    torch.manual_seed(0)
    trained = flow.make_flow()
    torch.nn.init.normal_(trained.output_layer.linear.weight)
    for block in trained.blocks:
        torch.nn.init.normal_(block.modulation_layer[1].weight, std=0.1)
    plain = FlowField(flow.CONFIG)
    plain.load_state_dict(trained.state_dict())
    batch, t = windows.batch(2), torch.tensor([0.2, 0.7])
    x, condition = batch["latents"], torch.zeros_like(batch["latents"])
    results = [
        field(x, t, field.condition(batch["codes"]), condition, batch["speaker"])
        for field in (trained, plain)
    ]
    error = (results[0] - results[1]).abs().max() / results[1].abs().max()
    assert error < tolerances.GRAPH_REL


def test_training_vocoder_is_the_modules():
    """The fused kernel and the mixed types: the same weights give the same samples."""
    torch.manual_seed(0)
    mixed, plain = vocoder.MixedVocoder(vocoder.CONFIG), Vocoder(vocoder.CONFIG)
    plain.load_state_dict(mixed.state_dict())
    raw = torch.rand(1, latents.BANDS, 6)
    expected = plain(raw)
    fused = vocoder.fuse(mixed)
    mixed.half_stages = 0
    scale = expected.abs().max()
    assert (mixed(raw) - expected).abs().max() / scale < tolerances.SNAKE_STACK_REL
    mixed.half_stages = vocoder.HALF_STAGES
    assert (mixed(raw) - expected).abs().max() / scale < tolerances.BFLOAT16_REL
    assert fused or torch.equal(mixed(raw), mixed(raw))


def test_crops_line_up(replies):
    """The own part of a crop's latents is that of its samples."""
    crops = vocoder.Crops(replies, seed=0)
    inputs, waves = crops.batch(4)
    left, own = vocoder.LEFT_FRAMES, vocoder.OWN_FRAMES
    again = latents.raw_latents(waves)
    middle = slice(3, own - 3)  # the ends lack their neighbours
    error = inputs[:, :, left : left + own][..., middle] - again[..., middle]
    assert error.abs().max() < tolerances.LOG_MEL_ABS


def test_predicted_latents_stand_where_they_belong(windows):
    """Every frame of a reply is an own frame of one window."""
    found = flow_latents.windows_of(windows.sizes, [0, 1])
    assert set(found) == {4, 8, 12}
    own = sorted(
        (which, begin + size - voice_data.CHUNK_CODES)
        for size, rows in found.items()
        for which, begin, size in rows
    )
    expected = [(which, at) for which in (0, 1) for at in range(0, windows.sizes[which], 4)]
    assert own == expected
    torch.manual_seed(0)
    field = FlowField(flow.CONFIG).eval().requires_grad_(False)
    batch = windows.gather([[windows.fixed[0], row] for row in found[12]])
    assert flow_latents.midpoint(field, batch).shape == batch["latents"].shape


def test_crops_take_predicted_latents(replies):
    crops = vocoder.Crops(replies[:1], 0, {0: np.full((4 * len(replies[0].codes), 64), 9.0)})
    marked = [bool((crops.batch(1)[0] == 9).any()) for _ in range(30)]
    assert any(marked) and not all(marked)


def test_checkpoints_have_the_names_that_export_reads(tmp_path):
    field, wave = flow.make_flow(), vocoder.MixedVocoder(vocoder.CONFIG)
    for module, folder in ((field, "flow"), (wave, "vocoder")):
        parts = {"model": module, "average": optim.Average(module)}
        optim.Run(tmp_path / folder, parts, 1.0, say=lambda line: None).save()
    states = {
        **flow.flow_state_dict(tmp_path / "flow"),
        **vocoder.vocoder_state_dict(tmp_path / "vocoder"),
    }
    expected = loading.module_shapes(
        loading.Module("flow", "token2latent.", FlowField, flow.CONFIG),
        loading.Module("vocoder", "wavegan.", Vocoder, vocoder.CONFIG),
    )
    assert {name: tuple(tensor.shape) for name, tensor in states.items()} == expected


def test_assemble_tells_where_it_wrote(monkeypatch, tmp_path, capsys):
    assemble = pytest.importorskip("train.assemble")
    monkeypatch.setattr(assemble, "write_checkpoint", lambda out, *_, **__: None)
    options = argparse.Namespace(out=tmp_path / "checkpoint", untrained=False, whole_turns=False)
    assemble.run(options)
    assert str(tmp_path / "checkpoint") in capsys.readouterr().out


def test_widths_per_stage_are_read_from_the_config():
    assemble = pytest.importorskip("train.assemble")
    config = assemble.decoder_config()
    assert VocoderConfig.from_dict(config) == vocoder.CONFIG
    assert FlowConfig.from_dict(config) == flow.CONFIG
    config["model"]["wavegan"]["stage_channels"] = [8, 8]
    with pytest.raises(BundleError, match="stage_channels to be 6 sizes, got 2"):
        VocoderConfig.from_dict(config)


@torch.no_grad()
def test_the_shipped_bundle_gives_its_voice_back(tmp_path):
    """Codes of a voice's prompt become its latents again, and these a wave that has them."""
    field, wave = flow.load_flow(tmp_path), vocoder.load_vocoder(tmp_path)
    stats = flow.read_stats(tmp_path)
    mean, deviation = torch.from_numpy(stats.mean), torch.from_numpy(stats.var).sqrt()
    for name in voice_data.VOICES:
        voice = flow.read_voice(name, tmp_path)
        assert voice["speaker"].shape == (1, flow.CONFIG.speaker_width)
        raw = voice["latents"] * deviation + mean
        made = flow.stream(field, voice, voice["tokens"]) * deviation + mean
        again = latents.raw_latents(wave(raw.T[None])[:, 0])[0].T
        for found in (made, again):
            decibels = float((found - raw).abs().mean()) * 10 * latents.NEPERS / np.log(10)
            assert decibels < tolerances.SHIPPED_LATENTS_DB


def test_a_training_can_begin_with_what_ships(tmp_path, monkeypatch, bank):
    """One step without a rate changes nothing: the run holds the bundle's weights."""
    read = voice_data.load_replies
    for module, part in ((flow, FlowField(flow.CONFIG)), (vocoder, Vocoder(vocoder.CONFIG))):
        monkeypatch.setattr(module, "load_replies", lambda *splits: read(*splits, folder=bank))
        name = "flow" if module is flow else "vocoder"
        monkeypatch.setattr(vocoder, "PREDICTED", tmp_path / "none")
        start = getattr(shipped_voice, f"shipped_{name}")(part)
        given = start if module is flow else {"model": start}
        module.train(1e-9, batch=2, lr=0.0, run=tmp_path / name, start=given)
        found = voice_data.weights_of(tmp_path / name, dict)
        assert found.keys() == start.keys()
        assert all(torch.allclose(found[key], start[key]) for key in start)
    with pytest.raises(FileNotFoundError, match="train the voice first"):
        shipped_voice.shipped_vocoder(part, tmp_path)


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    def parts():
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 3)
        named = module.named_parameters()
        optimizers = optim.Optimizers(named, 0.1)
        return {"model": module, "optimizers": optimizers, "average": optim.Average(module)}

    def step(run, x):
        run.parts["model"](x).square().sum().backward()
        run.parts["optimizers"].step(1.0)
        run.parts["average"].update(run.parts["model"])
        run.after_step(loss=1.0)

    inputs = torch.randn(6, 2, 3)
    whole = optim.Run(tmp_path / "whole", parts(), 1000, say=lambda line: None)
    for x in inputs:
        step(whole, x)
    first = optim.Run(tmp_path / "cut", parts(), 1000, say=lambda line: None)
    for x in inputs[:3]:
        step(first, x)
    first.save()
    lines = []
    second = optim.Run(tmp_path / "cut", parts(), 1000, say=lines.append)
    for x in inputs[3:]:
        step(second, x)
    assert second.steps == 6 and "goes on at step 3" in lines[0]
    for part in ("model", "average"):
        a, b = (run.parts[part].state_dict() for run in (whole, second))
        a, b = (s.get("weights", s) for s in (a, b))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_broken_gradient_changes_nothing():
    module = torch.nn.Linear(2, 2)
    optimizers = optim.Optimizers(module.named_parameters(), 0.1)
    before = module.weight.detach().clone()
    (module(torch.ones(1, 2)).sum() * float("nan")).backward()
    optimizers.step(1.0)
    assert torch.equal(module.weight, before) and module.weight.grad is None


def test_schedule_rises_and_falls():
    values = [optim.time_schedule(p) for p in (0.0, 0.02, 0.4, 0.75, 1.0)]
    assert values[0] < values[1] == values[2] == 1.0 > values[3] > values[4] > 0
