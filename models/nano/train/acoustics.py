"""Microphones and rooms for clean speech: gain, tilt, echo, noise, leakage; knows no dialogue."""

import numpy as np
import numpy.typing as npt

USER_HZ = 16000
SPEECH_LEVEL = 0.08  # root mean square of the bank's utterances
ECHO_SAMPLES = 3200
NOISE_SAMPLES = 30 * USER_HZ

Wave = npt.NDArray[np.float32]


class Acoustics:
    """Rooms and noises made once from `rng`; `mix` draws from them."""

    def __init__(self, rng: np.random.Generator, rooms: int = 64) -> None:
        self._rooms = [_room(rng) for _ in range(rooms)]
        # Exponents of the power spectrum: white, between, pink, brown.
        self._noises = [_noise(rng, slope) for slope in (0.0, 0.5, 1.0, 1.5, 2.0)]

    def mix(
        self,
        rng: np.random.Generator,
        speech: Wave,
        leaked: Wave | None,
        *,
        echo: bool,
        noisy: bool,
        lowest_gain: float = -30.0,
        least_snr: float = 6.0,
    ) -> Wave:
        """What a microphone hears of `speech` and of the assistant's `leaked` voice [samples].

        The speaker's gain is between lowest_gain and +5 dB; the noise is least_snr dB below the
        speech or softer.
        """
        gain_db = rng.uniform(lowest_gain, 5)
        kernel = self._rooms[rng.integers(len(self._rooms))] if echo else np.ones(1, np.float32)
        kernel = np.convolve(kernel, _tilt(rng))
        heard = _filter(speech, kernel) * np.float32(10 ** (gain_db / 20))
        if leaked is not None:
            # Below the assistant's own level, and not far above a soft speaker's.
            leak_db = min(rng.uniform(-40, -15), gain_db - 6)
            heard += _filter(leaked, kernel) * np.float32(10 ** (leak_db / 20))
        level = rng.uniform(-75, -38)
        speech_db = 20 * np.log10(SPEECH_LEVEL) + gain_db
        level = (
            min(level, speech_db - rng.uniform(least_snr, max(30.0, least_snr))) if noisy else -90.0
        )
        noise = self._noises[rng.integers(len(self._noises))]
        begin = int(rng.integers(len(noise)))
        indices = np.arange(begin, begin + len(heard)) % len(noise)
        heard += noise[indices] * np.float32(10 ** (level / 20))
        return np.clip(heard, -1, 1)


def _tilt(rng: np.random.Generator) -> Wave:
    """A first-order filter of unit power that lifts or lowers the high frequencies."""
    tilt = rng.uniform(-0.6, 0.6)
    return (np.array([1, tilt]) / np.sqrt(1 + tilt * tilt)).astype(np.float32)


def _room(rng: np.random.Generator) -> Wave:
    """An impulse response: the direct sound, a few reflections, an exponential tail."""
    time = np.arange(ECHO_SAMPLES) / USER_HZ
    decay = rng.uniform(0.05, 0.35)  # seconds until -60 dB
    tail = rng.standard_normal(ECHO_SAMPLES) * 10 ** (-3 * time / decay)
    tail[: int(rng.uniform(0.001, 0.006) * USER_HZ)] = 0
    tail *= rng.uniform(0.1, 0.6) / np.sqrt((tail**2).sum() + 1e-9)
    response = tail
    response[0] = 1
    for _ in range(int(rng.integers(1, 6))):
        response[int(rng.uniform(0.001, 0.02) * USER_HZ)] += rng.uniform(-0.35, 0.35)
    return (response / np.sqrt((response**2).sum())).astype(np.float32)


def _noise(rng: np.random.Generator, slope: float) -> Wave:
    """Noise [30 s] of unit power whose power falls with frequency ** -slope above 60 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(NOISE_SAMPLES))
    hertz = np.fft.rfftfreq(NOISE_SAMPLES, 1 / USER_HZ)
    spectrum *= np.maximum(hertz, 60.0) ** (-slope / 2)
    spectrum[hertz < 20] = 0
    noise = np.fft.irfft(spectrum, NOISE_SAMPLES)
    return (noise / noise.std()).astype(np.float32)


def _filter(wave: Wave, kernel: Wave) -> Wave:
    """`wave` through the causal `kernel`, as long as `wave`."""
    if len(kernel) < 8:
        return np.convolve(wave, kernel)[: len(wave)].astype(np.float32)
    # A length with small factors only: 2560 (a chunk) times one of 2 ** i * 3 ** j.
    blocks = -(-(len(wave) + len(kernel)) // 2560)
    fast = min(2**i * 3**j for i in range(12) for j in range(6) if 2**i * 3**j >= blocks)
    spectrum = np.fft.rfft(wave, fast * 2560)
    spectrum *= np.fft.rfft(kernel, fast * 2560)
    return np.fft.irfft(spectrum, fast * 2560)[: len(wave)].astype(np.float32)
