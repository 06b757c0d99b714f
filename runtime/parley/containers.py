"""What the header of a recording says about its length, and whether that is true; decodes nothing.

Recorders that are killed, and all that write into a pipe, cannot go back to their header: it then
says 0, a size that stands for "not known", or that of some time before. Others count the header
itself. Such files are whole, and their header is mended; a file that ends before its sound does is
not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from parley.errors import InputError

SLIP_BYTES = 4096  # the longest header that a stated size may have counted with it
LEAST_SLIP_BYTES = 64


@dataclass(frozen=True, slots=True)
class _Chunks:
    """How the chunks of a format are written: id, size, payload, padding."""

    first: int  # where the first one begins
    id_bytes: int
    size: str  # as `struct` has it
    counted: int  # bytes of the chunk's own header that its size counts
    align: int
    sound: bytes  # id of the chunk that holds it
    lead: int = 0  # bytes of its payload before the sound


@dataclass(slots=True)
class _Sound:
    """Where the sound lies and what is stated about it."""

    start: int
    stated: int  # bytes; < 0: not known
    field: int  # where that is stated
    size: str
    extra: int = 0  # bytes that the field counts beside the sound


_RIFF = _Chunks(12, 4, "<I", 0, 2, b"data")
_CHUNKED = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _Chunks(12, 4, ">I", 0, 2, b"data"),
    b"riff": _Chunks(40, 16, "<q", 24, 8, b"data"),  # W64
    b"FORM": _Chunks(12, 4, ">I", 0, 2, b"SSND", 8),  # AIFF
    b"caff": _Chunks(8, 4, ">q", 0, 1, b"data", 4),
}
_AU = {b".snd": ">I", b"dns.": "<I"}
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what players put behind the sound


def check_format(data: bytearray, name: str) -> None:
    """Raises InputError that names the file where it begins as none of the formats `mend` knows."""
    known = bytes(data[:4]) in (*_CHUNKED, *_AU, b"fLaC", b"OggS")
    if known or data[:3] == b"ID3" or mpeg_frame_bytes(data, 0):
        return
    begin = f"which begins with {bytes(data[:4])!r}" if data else "which is empty"
    raise InputError(
        f"[audio.read] expected a WAV or FLAC file (or AIFF, AU, CAF, Ogg, MP3), got {name}, "
        f"{begin}; convert it, for instance with `ffmpeg -i IN OUT.wav`"
    )


def mend(data: bytearray, name: str) -> int:
    """Makes the stated length of a recording true, in place.

    Returns the samples per channel that there must be at least, where only decoding can tell.
    Knows WAV (RIFF, RIFX, RF64, BW64, W64), AIFF, AU, CAF, FLAC, Ogg and MP3. Raises InputError
    that names the file for others, and where the end is missing.
    """
    check_format(data, name)
    magic = bytes(data[:4])
    if magic == b"fLaC":
        return _forget_length(data)
    if magic == b"OggS":
        _check_ogg(data, name)
    elif magic in _CHUNKED:
        kind = _CHUNKED[magic]
        if magic in (b"RF64", b"BW64"):  # libsndfile knows neither BW64 nor RF64 without `ds64`
            data[:4] = b"RF64" if data[12:16] == b"ds64" else b"RIFF"
        if sound := _find_sound(data, kind):
            _settle(data, sound, kind, name)
    elif magic not in _AU:
        _check_mp3(data, name)
    elif len(data) >= 12:
        size = _AU[magic]
        start, stated = struct.unpack_from(size[0] + "II", data, 4)
        _settle(data, _Sound(start, stated, 8, size), None, name)
    return 0


def _settle(data: bytearray, sound: _Sound, kind: _Chunks | None, name: str) -> None:
    there = len(data) - sound.start
    missing = sound.stated - there
    if not _is_unknown(sound.stated):
        if missing > _slip(sound.start):
            raise cut_off(name, missing, sound.stated)
        if missing <= 0 and _is_end(data, sound.start + sound.stated, kind):
            return
    bits = 8 * struct.calcsize(sound.size) - sound.size[-1].islower()
    written = min(max(there, 0) + sound.extra, 2**bits - 1)
    struct.pack_into(sound.size, data, sound.field, written)


def cut_off(name: str, missing: int | None = None, stated: int | None = None) -> InputError:
    """The error for a file whose end is missing, of how many bytes where that is known."""
    end = "end" if missing is None else f"last {missing} of {stated} bytes of sound"
    return InputError(
        f"[audio.read] expected a whole recording, got {name} without its {end}; copy or record "
        "it again, or take what there is of it with `ffmpeg -i IN OUT.wav`"
    )


def _find_sound(data: bytearray, kind: _Chunks) -> _Sound | None:
    header = kind.id_bytes + struct.calcsize(kind.size)
    extra = kind.counted + kind.lead
    at = kind.first
    while at + header <= len(data):
        size, field = kind.size, at + kind.id_bytes
        (stated,) = struct.unpack_from(size, data, field)
        if data[at : at + len(kind.sound)] == kind.sound:
            if stated == 0xFFFFFFFF and data[12:16] == b"ds64":  # RF64: it stands there, in 64 bits
                size, field = "<q", 28
                (stated,) = struct.unpack_from(size, data, field)
            if stated and not _is_unknown(stated):
                stated = max(stated - extra, 0)
            return _Sound(at + header + kind.lead, stated, field, size, extra)
        at = _behind(data, at, kind)
    return None


def _behind(data: bytearray, at: int, kind: _Chunks) -> int:
    """Where the chunk after the one at `at` begins; far behind the end where its size is absurd."""
    (size,) = struct.unpack_from(kind.size, data, at + kind.id_bytes)
    header = kind.id_bytes + struct.calcsize(kind.size)
    if size < kind.counted or at + size > len(data):
        return 2 * len(data) + 64
    end = int(at + header - kind.counted + size)
    padded = -(-end // kind.align) * kind.align
    if _is_id(data, end) and not _is_id(data, padded):
        data[end:end] = bytes(padded - end)  # its writer forgot the padding
    return padded


def _is_id(data: bytearray, at: int) -> bool:
    return len(data) >= at + 4 and all(32 <= byte < 127 for byte in data[at : at + 4])


def _is_end(data: bytearray, at: int, kind: _Chunks | None) -> bool:
    """Whether what lies from `at` on is no sound: nothing much, tags, or whole chunks."""
    rest = data[at:]
    if len(rest) <= LEAST_SLIP_BYTES or rest.startswith(_TAGS) or not rest.strip(b"\0"):
        return True
    if kind is None:
        return False
    at = -(-at // kind.align) * kind.align
    while at + kind.id_bytes + struct.calcsize(kind.size) <= len(data):
        if not _is_id(data, at):
            return False
        at = _behind(data, at, kind)
    return abs(len(data) - at) < max(2, kind.align)


def _is_unknown(stated: int) -> bool:
    """What pipes are given for a length: -1, or about the most that 31, 32 or 63 bits hold."""
    near = (2**31 - 2**16, 2**31 + 2**8), (2**32 - 2**16, 2**32), (2**62, 2**64)
    return stated < 0 or any(low <= stated < high for low, high in near)


def _slip(start: int) -> int:
    return max(LEAST_SLIP_BYTES, min(start, SLIP_BYTES))


def _forget_length(data: bytearray) -> int:
    """FLAC: the samples that it states, which only decoding can prove; 0 where it states none.

    They are replaced by 0, "not known" (RFC 9639, section 8.2), so that all that is there is read.
    """
    if len(data) < 26:
        return 0
    field = int.from_bytes(data[18:26], "big")
    stated = field & (2**36 - 1)
    data[18:26] = (field - stated).to_bytes(8, "big")
    return 0 if stated == 2**36 - 1 else max(0, stated - LEAST_SLIP_BYTES)


def _check_ogg(data: bytearray, name: str) -> None:
    """The last page of a whole stream says that it is the last one (RFC 3533, section 6)."""
    at, last = 0, False
    while data[at : at + 4] == b"OggS" and at + 27 <= len(data):
        segments = data[at + 27 : at + 27 + data[at + 26]]
        last = bool(data[at + 5] & 4)
        at += 27 + data[at + 26] + sum(segments)
    if not last or at > len(data):
        raise cut_off(name)


_KBPS = {  # (MPEG-1?, layer) -> kbit/s by index 1 to 14 (ISO/IEC 11172-3 and 13818-3)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mpeg_frame_bytes(data: bytearray, at: int) -> int:
    """Bytes of the MPEG audio frame whose header is at `at`; 0 where there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return 0
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    rate, index = data[at + 2] >> 2 & 3, data[at + 2] >> 4
    if version == 1 or layer == 4 or rate == 3 or not 0 < index < 15:
        return 0
    hz = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = 1000 * _KBPS[version == 3, layer][index - 1]
    padding = data[at + 2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hz + padding


def _check_mp3(data: bytearray, name: str) -> None:
    """By the size in the tag of the first frame, and by whether the last frame is whole.

    libsndfile reads no further than the tag states, and guesses where there is none.
    """
    first = at = _behind_id3(data, 0)
    if at > len(data):
        raise cut_off(name, at - len(data), at)
    n, frame = 0, mpeg_frame_bytes(data, at)
    tag = max(data.find(word, at, at + frame) for word in (b"Xing", b"Info"))
    fields = bytes(data[tag + 4 : tag + 16]) if tag > 0 else b""
    flags, frames, size = struct.unpack(">III", fields.ljust(12, b"\0"))
    tagged = tag > 0 and flags & 3 == 3
    if tagged and first + size - len(data) > LEAST_SLIP_BYTES:
        raise cut_off(name, first + size - len(data), size)
    while frame and at + frame <= len(data):
        n += 1
        at = _behind_id3(data, at + frame)
        frame = mpeg_frame_bytes(data, at)
    if frame and n:
        raise cut_off(name)
    if tagged and frames < n - 1:
        struct.pack_into(">II", data, tag + 8, n - 1, at - first)
    elif tag < 0 and n and data[first + 1] & 6 == 2:  # layer 3
        data[first:first] = _mp3_tag(data[first : first + 4], n, at - first)


def _mp3_tag(header: bytearray, n_frames: int, n_bytes: int) -> bytes:
    """A frame of silence before the others that states how many they are, as LAME's "Xing" does."""
    mono, mpeg_1 = header[3] >> 6 == 3, header[1] >> 3 & 3 == 3
    side = (17 if mono else 32) if mpeg_1 else (9 if mono else 17)
    start = bytearray((0xFF, header[1] | 1, 9 << 4 | header[2] & 12, header[3]))
    size = mpeg_frame_bytes(start, 0)
    stated = struct.pack(">4sIII", b"Xing", 3, n_frames, n_bytes + size)
    return bytes(start + bytes(side) + stated).ljust(size, b"\0")


def _behind_id3(data: bytearray, at: int) -> int:
    if data[at : at + 3] != b"ID3" or len(data) < at + 10:
        return at
    shifted = zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=True)
    return at + 10 + sum(byte << shift for byte, shift in shifted)
