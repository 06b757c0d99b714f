"""Recordings whose header is wrong about their length, of every format that is read."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import parley
import tolerances
from parley.containers import mpeg_frame_bytes

RATE, SECONDS = 16_000, 3
SOUND = (
    0.3 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE) / RATE)
    + 0.01 * np.random.default_rng(1).standard_normal(SECONDS * RATE)
).astype(np.float32)
FORMATS = {  # name -> libsndfile's words; where the size of the sound stands, its form, what else
    "wav": ("WAV", "PCM_16", "FILE", b"data", 4, "<I"),
    "float": ("WAV", "FLOAT", "FILE", b"data", 4, "<I"),
    "rifx": ("WAV", "PCM_16", "BIG", b"data", 4, ">I"),
    "aiff": ("AIFF", "PCM_16", "FILE", b"SSND", 4, ">I"),
    "au": ("AU", "PCM_16", "FILE", b".snd", 8, ">I"),
    "caf": ("CAF", "PCM_16", "FILE", b"data", 4, ">q"),
    "w64": ("W64", "PCM_16", "FILE", b"data\xf3\xac", 16, "<q"),
    "rf64": ("RF64", "PCM_16", "FILE", b"ds64", 16, "<q"),
    "flac": ("FLAC", "PCM_16", "FILE", b"", 0, ""),
    "vorbis": ("OGG", "VORBIS", "FILE", b"", 0, ""),
    "opus": ("OGG", "OPUS", "FILE", b"", 0, ""),
    "mp3": ("MP3", "MPEG_LAYER_III", "FILE", b"", 0, ""),
}
SIZED = [name for name, how in FORMATS.items() if how[5]]


def whole(name: str, tmp_path: Path) -> bytearray:
    kind, subtype, endian, *_ = FORMATS[name]
    path = tmp_path / "whole"
    soundfile.write(path, SOUND, RATE, format=kind, subtype=subtype, endian=endian)
    return bytearray(path.read_bytes())


def seconds(data: bytes, tmp_path: Path) -> float:
    path = tmp_path / "recording"
    path.write_bytes(data)
    samples, rate = parley.read_audio(path)
    return samples.size / rate


def refused(data: bytes, tmp_path: Path) -> str:
    with pytest.raises(parley.InputError) as caught:
        seconds(data, tmp_path)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read_and_half_a_file_is_not(name: str, tmp_path: Path) -> None:
    data = whole(name, tmp_path)
    assert seconds(data, tmp_path) == pytest.approx(SECONDS, abs=tolerances.CODEC_S)
    for part in (0.5, 0.9):
        told = refused(data[: int(part * len(data))], tmp_path)
        assert str(tmp_path) in told and "without its" in told and "ffmpeg -i" in told


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize(
    "stated",
    [0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFF0000, 0x80000000, "+1", "+44", "half"],
)
def test_a_size_that_is_not_known_or_a_little_off(
    name: str, stated: int | str, tmp_path: Path
) -> None:
    data = whole(name, tmp_path)
    *_, mark, behind, size = FORMATS[name]
    place = data.index(mark) + behind
    (true,) = struct.unpack_from(size, data, place)
    if isinstance(stated, str):
        stated = true // 2 if stated == "half" else true + int(stated)
    struct.pack_into(size, data, place, stated)
    assert seconds(data, tmp_path) == SECONDS


@pytest.mark.parametrize("name", SIZED)
def test_a_size_that_is_far_off_is_refused(name: str, tmp_path: Path) -> None:
    data = whole(name, tmp_path)
    *_, mark, behind, size = FORMATS[name]
    place = data.index(mark) + behind
    (true,) = struct.unpack_from(size, data, place)
    struct.pack_into(size, data, place, true + 1_000_000)
    assert "without its last 1000" in refused(data, tmp_path)


@pytest.mark.parametrize(
    ("stated", "ok"), [(0, True), (2**36 - 1, True), (RATE, True), (10 * RATE, False)]
)
def test_samples_that_a_flac_states(stated: int, ok: bool, tmp_path: Path) -> None:
    """0 is what a pipe gets; less than there is, what a killed recorder wrote some time ago."""
    data = whole("flac", tmp_path)
    field = int.from_bytes(data[18:26], "big")
    data[18:26] = (field >> 36 << 36 | stated).to_bytes(8, "big")
    data[26:42] = bytes(16)  # the MD5 sum, which is not known then either
    if ok:
        assert seconds(data, tmp_path) == SECONDS
    else:
        assert "without its end" in refused(data, tmp_path)


@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), bytes(1000), b"\xff\xf8" * 500])
def test_what_lies_behind_a_whole_flac_is_no_sound(behind: bytes, tmp_path: Path) -> None:
    """Players put tags there, disks zeros: it was refused as "lost sync"."""
    assert seconds(whole("flac", tmp_path) + behind, tmp_path) == SECONDS


def test_bw64_is_rf64_by_another_name(tmp_path: Path) -> None:
    data = whole("rf64", tmp_path)
    data[:4] = b"BW64"
    assert seconds(data, tmp_path) == SECONDS


def test_mp3s_without_a_tag_joined_or_between_tags(tmp_path: Path) -> None:
    data = whole("mp3", tmp_path)
    id3 = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    assert seconds(id3 + data + b"TAG" + bytes(125), tmp_path) == SECONDS
    tagless = data[mpeg_frame_bytes(data, 0) :]
    assert seconds(tagless, tmp_path) == pytest.approx(SECONDS, abs=tolerances.CODEC_S)
    assert "without its end" in refused(tagless[:-20], tmp_path)
    assert seconds(data + id3 + data, tmp_path) == pytest.approx(
        2 * SECONDS, abs=2 * tolerances.CODEC_S
    )


LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"


@pytest.mark.parametrize("behind", [LIST, bytes(5000), b"ID3\x03\0\0" + bytes(5000), b"x" * 10])
def test_what_lies_behind_the_sound_is_not_sound(behind: bytes, tmp_path: Path) -> None:
    data = whole("wav", tmp_path)
    assert seconds(data + behind, tmp_path) == SECONDS
    nothing = data[:40] + struct.pack("<I", 0) + LIST
    assert "no samples" in refused(nothing, tmp_path)


def test_a_chunk_of_odd_size_with_and_without_its_padding(tmp_path: Path) -> None:
    data = whole("wav", tmp_path)
    for text in (b"INFOx", b"INFOx\0"):
        odd = data[:36] + b"LIST" + struct.pack("<I", 5) + text + data[36:]
        assert seconds(odd, tmp_path) == SECONDS


def test_a_pipe_is_read_and_an_endless_one_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = bytes(whole("wav", tmp_path))
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    samples, _ = parley.read_audio(fifo)
    writer.join()
    assert samples.size == SECONDS * RATE
    yes = subprocess.Popen(
        [sys.executable, "-c", f"f = open({str(fifo)!r}, 'w')\nwhile True: f.write('y')"],
        stderr=subprocess.DEVNULL,
    )
    with pytest.raises(parley.InputError, match="begins with b'yyyy'"):
        parley.read_audio(fifo)
    assert yes.wait(30) != 0


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero"])
def test_a_device_is_no_recording(name: str) -> None:
    with pytest.raises(parley.InputError, match="a device"):
        parley.read_audio(name)


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/na\xefve.wav"
    Path(os.fsdecode(name)).write_bytes(whole("wav", tmp_path))
    assert parley.read_audio(os.fsdecode(name))[0].size == SECONDS * RATE


HALF = np.where(np.arange(SOUND.size) < SOUND.size // 2, 1, -1).astype(np.float32)
CHANNELS = {  # how loud the mixture is, in parts of one channel
    "turned": ([SOUND, -SOUND], 1.0),
    "turned and quieter": ([SOUND, -0.8 * SOUND], 1.0),
    "turned half of the time": ([SOUND, HALF * SOUND], 1.0),
    "two turned of four": ([SOUND, -SOUND, SOUND, -SOUND], 1.0),
    "one dead": ([SOUND, 0 * SOUND], 1.0),
    "one dead with an offset": ([0 * SOUND + 0.1, SOUND], 1.0),
    "the centre of six": ([0 * SOUND] * 2 + [SOUND] + [0 * SOUND] * 3, 1.0),
    "alike": ([SOUND, SOUND], 1.0),
    "one after the other": ([SOUND * (HALF > 0), SOUND * (HALF < 0)], 0.5),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_that_cancel_out_or_hold_nothing(name: str) -> None:
    """Regression: a miswired cable was heard as silence."""
    channels, loud = CHANNELS[name]
    mixed = parley.audio.mix_down(np.stack(channels, 1).astype(np.float32))
    assert float(mixed.std() / SOUND.std()) == pytest.approx(loud, rel=tolerances.MIXED)
