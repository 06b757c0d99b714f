"""What the compiled module offers; the package `parley` wraps it, apps use only the package."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

__version__: str

# Paths are bytes to the system; a string must be one that UTF-8 can hold.
Path = str | bytes
Floats = npt.NDArray[np.float32]
Kind = Literal[
    "turn_ended", "reply_started", "text", "audio", "reply_ended",
    "think", "shift", "break", "window", "underrun", "muted", "call",
]  # fmt: skip
Floor = Literal["listening", "preparing", "speaking", "closed"]

class Error(RuntimeError): ...
class BundleError(Error): ...
class InputError(Error, ValueError): ...
class ContextError(Error): ...
class LibraryError(Error): ...
class CancelledError(Error): ...

def read_manifest(folder: Path) -> dict[str, Any]:
    """Checks manifest.json of a bundle folder strictly and returns it; no other file is read."""

def onnxruntime_version(library: Path = "") -> str: ...
def llama_version(library: Path = "") -> str: ...
def llama_variant(library: Path = "") -> bytes:
    """The file of ggml's code for the CPU that the library runs; b"" where it is linked in."""

def llama_variants(library: Path) -> list[bytes]:
    """The files of ggml's code beside it that this processor can run, the best first."""

def quantize_gguf(library: Path, source: Path, target: Path, **options: object) -> None:
    """file_type, threads, rows_bytes, requantize, and importance: {weight: columns}."""

def try_onnxruntime_device(library: Path, device: str) -> None:
    """Runs a graph of one node on cpu, cuda or tensorrt; raises LibraryError where it cannot."""

def kernel_forms() -> str:
    """What was measured: lines of an operation, microseconds of our form and of ONNX Runtime's."""

def set_kernel_forms(text: str) -> None:
    """Takes such lines for measured."""

def set_log(log: Callable[[int, str, str], None] | None) -> None:
    """Who gets the libraries' messages: level (0 debug to 3 error), library, text. Any thread."""

@final
class Event:
    """Something that happened in a step; `sample` is its place on the output timeline."""

    @property
    def kind(self) -> Kind: ...
    @property
    def sample(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def token(self) -> int:
        """The id that was drawn, -1 where the event has none."""
    @property
    def text(self) -> str:
        """kind "text": whole characters; those that a token begins come with the next one. kind
        "call": the tool's name, a line break, its arguments."""
    @property
    def codes(self) -> list[int]:
        """kind "audio": the audio codes drawn in this step."""
    @property
    def reason(self) -> str:
        """kind "reply_ended": model, break, interrupted, max_tokens or context; else empty."""
    @property
    def count(self) -> int:
        """kind "window": positions forgotten; "underrun" and "muted": samples of silence;
        "reply_ended" by interruption: the sample up to which it was heard."""

@final
class Step:
    """What one chunk gave."""

    @property
    def samples(self) -> Floats:
        """[out_chunk_samples] at the output rate, owned by this object."""
    @property
    def events(self) -> list[Event]: ...
    @property
    def floor(self) -> Floor: ...
    @property
    def index(self) -> int:
        """How many steps came before."""
    @property
    def bottleneck(self) -> str: ...
    @property
    def timing_ms(self) -> dict[str, float]:
        """Milliseconds by stage: front_end, encoder, backbone, flow, vocoder, engine, total."""

@final
class OpenOptions:
    """What a bundle is opened with; each keyword sets the option of its name."""

    onnxruntime: str | bytes
    llama: str | bytes
    device: str
    threads: int
    verify: bool
    kv: str
    flow: str
    on_run: Callable[[str, dict[str, Any]], object] | None  # reads as whether there is one
    importance: bool

    def __init__(self, **options: object) -> None: ...

@final
class SessionOptions:
    """What a session is made with; each keyword sets the option of its name."""

    mode: str | None
    voice: str
    seed: int
    system: str | None
    tools: str
    text_only: bool
    temperature: float | None
    top_k: int | None
    top_p: float | None
    max_new_tokens: int | None
    prefill_budget: int
    overlap: bool
    on_draw: (
        Callable[[Floats, list[tuple[int, int]], int], int] | None
    )  # reads as whether there is one

    def __init__(self, **options: object) -> None: ...

@final
class Resampler:
    """One stream of mono samples from a device's rate to a session's, or back."""

    def __init__(self, from_hz: int, to_hz: int) -> None: ...
    def push(self, samples: Floats) -> Floats:
        """[n] -> the samples that became final; none comes late for good."""
    def finish(self) -> Floats:
        """The rest of the stream, as if silence followed."""
    def reset(self) -> None: ...

@final
class Bundle:
    """Opened models; sessions share the weights. Safe to use from several threads."""

    def __init__(self, folder: str | bytes, options: OpenOptions) -> None: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def modes(self) -> list[str]: ...
    @property
    def voices(self) -> list[str]: ...
    @property
    def chunk_samples(self) -> int:
        """Samples that a step takes, at the input rate."""
    @property
    def out_chunk_samples(self) -> int:
        """Samples that a step gives, at the output rate."""
    def session(
        self, options: SessionOptions, progress: Callable[[int, int], object] | None = None
    ) -> Session: ...
    def resume(
        self, path: str | bytes, progress: Callable[[int, int], object] | None = None
    ) -> Session: ...
    def importance(self) -> dict[str, Floats]: ...
    def resample(self, samples: Floats, from_hz: int) -> Floats:
        """[n] at `from_hz` to the input rate, as the model's own front end does it."""

@final
class Session:
    """One conversation. One thread at a time; interrupt(), cancel() and close() from any thread."""

    def step(self, samples: Floats) -> Step:
        """[chunk_samples] float32 in -1..1. The GIL is released."""
    def feed(self, samples: Floats, hz: int = 0) -> None:
        """[n] float32 at any rate (0: the bundle's); they wait for next()."""
    def next(self) -> Step | None:
        """The step of a chunk that waits; nothing where less does. The GIL is released."""
    def flush(self) -> None:
        """Fills the last chunk of what was fed with silence."""
    @property
    def waiting(self) -> int:
        """Samples that were fed and not taken."""
    def fork(self) -> Session: ...
    def save(self, path: str | bytes) -> None: ...
    def end_turn(self) -> None: ...
    def send_text(self, text: str) -> None: ...
    def send_result(self, name: str, content: str) -> None: ...
    def interrupt(self, heard_until: int | None = None) -> None: ...
    def cancel(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...
    @property
    def mode(self) -> str: ...
    @property
    def floor(self) -> Floor: ...
    @property
    def position(self) -> int:
        """Backbone positions held."""
    @property
    def delay_samples(self) -> int:
        """Constant delay between a drawn code and its sound, in output samples."""
    @property
    def input_delay_samples(self) -> int:
        """Constant delay of the front end, in input samples (duplex; 0 in turns)."""

TURN_TIMERS: dict[str, int]

@final
class Managed:
    """Managed turns over a session, which they take over; otherwise as Session."""

    def __init__(
        self,
        bundle: Bundle,
        session: Session,
        *,
        timers: dict[str, int],
        threshold: float,
        vad: str,
        end_of_turn: Callable[[Floats, int], float] | None,
    ) -> None: ...
    def take_turns(self) -> list[dict[str, Any]]:
        """Turns that came to their end since the last call."""
    def step(self, samples: Floats) -> Step: ...
    def feed(self, samples: Floats, hz: int = 0) -> None: ...
    def next(self) -> Step | None: ...
    def flush(self) -> None: ...
    @property
    def waiting(self) -> int: ...
    def interrupt(self, heard_until: int | None = None) -> None: ...
    def cancel(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...
    @property
    def mode(self) -> str: ...
    @property
    def floor(self) -> Floor: ...
    @property
    def position(self) -> int: ...
    @property
    def delay_samples(self) -> int: ...
    @property
    def input_delay_samples(self) -> int: ...

@final
class VocoderStream:
    """Replies through the vocoder, push by push; `Workbench.vocoder_stream` makes one."""

    def begin(self) -> None:
        """Another reply."""
    def push(self, latents: Floats, last: bool = False) -> Floats:
        """[n, z] -> the samples that came out."""

@final
class Workbench:
    """Single stages of an opened bundle, run by the engine's own code, for verification."""

    def __init__(
        self, bundle: Bundle, voice: str = "", flow: str = "", noise: Floats | None = None
    ) -> None: ...
    def resample(self, samples: Floats, from_hz: int, to_hz: int) -> Floats: ...
    def cut_turn(self, samples: Floats) -> tuple[list[Floats], int]:
        """A turn at the input rate -> its segments (trimmed, padded) and its number of features."""
    def log_mel(self, segment: Floats) -> Floats:
        """One segment at the encoder's rate -> [n_mels, mel frames of a segment]."""
    def encode_segment(self, log_mel: Floats) -> tuple[Floats, Floats]:
        """[n_mels, mel frames] -> encoded [encoder frames, d], features [rows, width]. A whole
        segment, or a shorter one."""
    def turn_features(self, samples: Floats, short_segments: bool | None = None) -> Floats:
        """A whole turn at the input rate -> [n_features, width], as a session computes it;
        `short_segments` instead of the manifest's."""
    def chunk_features(self, samples: Floats) -> Floats:
        """Whole chunks at the input rate -> [n_chunks, width] through the chunk form."""
    def tokenize(self, text: str, special: bool = True) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def turn_ids(self, pieces: Sequence[int], first: bool, system: str | None = None) -> list[int]:
        """The prompt of an audio turn; placeholders stand where the features go, so many in each
        of its pieces."""
    def reset_backbone(self) -> None: ...
    def feed(self, ids: Sequence[int], features: Floats | None = None) -> Floats:
        """Appends ids to the KV cache, placeholder ids taking the rows of `features` in order;
        returns the logits [vocab_size] after the last one."""
    def begin_turn(self, ids: Sequence[int]) -> None:
        """Starts the ids that the repetition penalties of pick() cover."""
    def pick(self, logits: Floats) -> int:
        """Greedy choice with the bundle's penalties; the id joins the turn's ids."""
    def flow_field(self, inputs: Floats, t: float) -> Floats:
        """[B, T, hidden + 2z] at time t with the voice's speaker -> velocity [B, T, z]."""
    def flow_decode(
        self, codes: Sequence[int], noise: Floats | None = None, seed: int = 0
    ) -> tuple[Floats, Floats, Floats]:
        """-> latents [n, z]; normalised [prompt + reply, z] after one step, and at the end."""
    def flow_begin(self, seed: int = 0) -> None:
        """Begins a reply; the first call also sets the voice up, which may take long."""
    def flow_push(self, codes: Sequence[int], last: bool = False) -> Floats:
        """Codes of the reply -> the latents that became final [n, z]."""
    def flow_noise(self, first: int, n: int, seed: int = 0) -> Floats:
        """Noise [n, z] of latent frames from `first`; the prompt's are negative, of seed 0."""
    def flow_costs(self) -> dict[str, int]:
        """voice_bytes that states share, state_bytes, setup_evaluations over prompt_frames."""
    def flow_stream(self, codes: Sequence[int], seed: int = 0, cut: int = 4) -> Floats:
        """The same through the streaming form, `cut` codes at a time -> [n, z]."""
    def vocode(self, latents: Floats, noise: Floats | None = None) -> Floats:
        """[n, z] -> samples."""
    def vocode_stream(self, latents: Floats, cut: int = 16) -> Floats: ...
    def vocoder_stream(self, lookahead: int | None = None) -> VocoderStream:
        """A stream with another look-ahead (latent frames) than the bundle's."""

Spent = tuple[float, float]  # milliseconds on the wall and of the processor

class BackboneBench:
    def __init__(
        self,
        gguf: Path,
        *,
        llama: Path = "",
        device: str = "cpu",
        kv: str = "f16",
        threads: int = 1,
        n_cells: int = 1024,
    ) -> None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def width(self) -> int: ...
    def tokenize(self, text: str, special: bool) -> list[int]: ...
    def read(self, rows: Floats) -> Floats:
        """Appends rows [n, width]; logits [vocab_size] of the last one."""
    def ours(self, ids: list[int], slot: tuple[int, int]) -> Spent: ...
    def plain(self, ids: list[int]) -> Spent: ...
    def embed(self, ids: list[int]) -> Spent: ...
    @staticmethod
    def draws(vocab_size: int, slot: tuple[int, int], n: int) -> Spent: ...
    def converse(
        self, prompt: int, window: int, context: int, pattern: list[int], n_chunks: int
    ) -> list[tuple[float, float, bool, bool, bool]]: ...

def audio_devices(library: str = "") -> list[dict[str, Any]]: ...

@final
class LiveOptions:
    def __init__(
        self,
        *,
        capture_hz: int = 48000,
        render_hz: int = 48000,
        cancel_echo: bool = True,
        lead_s: float = 0.06,
        render_latency_s: float = 0.03,
    ) -> None: ...

@final
class Live:
    """Takes the session over. Nothing here waits with the GIL held."""

    def __init__(
        self,
        bundle: Bundle,
        session: Session | Managed,
        options: LiveOptions,
        record: bool = False,
    ) -> None: ...
    def open_devices(self, input: str = "", output: str = "", library: str = "") -> None: ...
    def capture(self, samples: Floats) -> None: ...
    def render(self, n: int) -> Floats: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def turn(self) -> bool: ...
    def wait(self, seconds: float) -> dict[str, Any] | None: ...
    def interrupt(self) -> None: ...
    def mute(self, on: bool) -> None: ...
    def statistics(self) -> dict[str, Any]: ...
    def recorded(self) -> dict[str, Floats]: ...
    @property
    def running(self) -> bool: ...
    @property
    def input_name(self) -> str: ...
    @property
    def output_name(self) -> str: ...
