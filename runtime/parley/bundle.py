"""Opens bundles over the engine's; knows no stage and not where bundles lie."""

from __future__ import annotations

import json
import os
import reprlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from parley import _core, arguments, kernel_forms, turns
from parley.arguments import LARGEST_THREADS
from parley.audio import check_rate, check_samples
from parley.bundle_folders import find_bundle
from parley.errors import InputError
from parley.events import Floats, OnDraw, OnRun
from parley.libraries import onnxruntime_path, runnable_llama
from parley.live import Live, open_live
from parley.session import Session
from parley.session_options import Mode, checked_options, no_such_mode, with_managed
from parley.tools import Tool, schemas_of
from parley.turns import EndOfTurn

Device = Literal["cpu", "cuda", "tensorrt"]
CacheType = Literal["f16", "bf16", "q8_0", "f32"]


class Bundle:
    """Opened models; made by `parley.open`, a context manager.

    Its sessions share the weights, and it may be used from several threads.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: Device = "cpu",
        threads: int = 0,
        voice: str | None = None,
        verify: bool = True,
        kv: CacheType = "f16",
        flow: Mapping[str, object] | None = None,
        onnxruntime: str | Path | None = None,
        llama: str | Path | None = None,
        on_run: OnRun | None = None,
        importance: bool = False,
    ) -> None:
        where = "bundle.open"
        do = "0 takes as many as there are"
        threads = arguments.whole_number(where, "threads", threads, 0, LARGEST_THREADS, do=do)
        self.folder = Path(folder)
        onnxruntime = onnxruntime_path(onnxruntime)
        library = os.fsencode(onnxruntime)
        self._kernels = kernel_forms.file(_core.onnxruntime_version(library))
        kernel_forms.restore(self._kernels)
        options = _core.OpenOptions(
            device=arguments.text(where, "device", device),
            threads=threads,
            verify=arguments.flag(where, "verify", verify),
            kv=arguments.text(where, "kv", kv),
            flow=_settings(flow),
            onnxruntime=library,
            llama=os.fsencode(runnable_llama(llama, onnxruntime, bundle=Path(folder))),
            on_run=on_run,
            importance=arguments.flag(where, "importance", importance),
        )
        self._core: _core.Bundle | None = _core.Bundle(os.fsencode(folder), options)
        self._manifest = self._core.manifest
        self._voice = voice or ""
        if voice is not None and voice not in self.voices:
            raise InputError(
                f"[bundle.open] expected one of the voices {', '.join(self.voices)}, "
                f"got {voice!r}; choose one of them"
            )
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._lives: weakref.WeakSet[Live] = weakref.WeakSet()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it was checked: what the bundle holds and where it came from."""
        return self._manifest

    @property
    def name(self) -> str:
        """The bundle's own name."""
        return str(self._manifest["name"])

    @property
    def notice(self) -> str:
        """What the weights' licence asks to be shown to their user."""
        return str(self._manifest["source"]["notice"])

    @property
    def modes(self) -> list[str]:
        """Of "turns", "duplex" and "managed" those that the bundle can do.

        Managed turns are what any bundle of whole turns does in full duplex.
        """
        return with_managed(self._opened.modes)

    @property
    def voices(self) -> list[str]:
        """Names of the voices."""
        return self._opened.voices

    @property
    def rate(self) -> int:
        """Samples per second that sessions take."""
        return int(self._manifest["rates"]["input_hz"])

    @property
    def chunk_samples(self) -> int:
        """Samples of one chunk, in."""
        return self._opened.chunk_samples

    @property
    def out_rate(self) -> int:
        """Samples per second that sessions give."""
        return int(self._manifest["rates"]["output_hz"])

    @property
    def out_chunk_samples(self) -> int:
        """Samples of one chunk, out."""
        return self._opened.out_chunk_samples

    def session(
        self,
        mode: Mode | None = None,
        *,
        seed: int = 0,
        voice: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        prefill_budget: int = 0,
        overlap: bool = False,
        timers: Mapping[str, int] | None = None,
        speech_threshold: float = 0.5,
        end_of_turn: EndOfTurn | None = None,
        observe: bool = False,
        tools: Sequence[Tool] = (),
        text_only: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Session:
        """Starts a conversation.

        mode: "turns", "duplex" or "managed"; duplex where None and the bundle has it. Managed: full
        duplex by whole turns, over which the engine decides. timers: ms, in place of `TURN_TIMERS`.
        speech_threshold: of the probability of speech. end_of_turn: asked at each pause with the
        turn so far [n] and its rate, for how likely it is complete. observe: `Session.take_turns`
        in duplex too. seed: of all chance. system: the system prompt. temperature (0: always the
        likeliest id), top_k, top_p, max_new_tokens of a reply. These are the bundle's where None.
        prefill_budget: the most positions of a prompt per step, 0 for all. overlap: a second thread
        makes a chunk's sound one chunk later (`delay_samples`); in turns, another one encodes full
        segments. tools: what the model may call (mode "turns"). text_only: replies without sound.
        progress: told done and all evaluations of a voice's setup. Raises InputError for
        what the bundle lacks or is out of range.
        """
        started = self._start(
            mode,
            seed=seed,
            voice=voice,
            system=system,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            prefill_budget=prefill_budget,
            overlap=overlap,
            timers=timers,
            speech_threshold=speech_threshold,
            end_of_turn=end_of_turn,
            observe=observe,
            tools=schemas_of(tools, mode),
            text_only=text_only,
            progress=progress,
        )
        return self._session(started, tools)

    def forced(self, on_draw: OnDraw, mode: Mode | None = None, **options: Any) -> Session:
        """A `session` that draws what it is told: on_draw sees each draw's logits [vocab_size],
        ranges of allowed ids and pick, and returns the id to take."""
        return self._session(self._start(mode, on_draw=on_draw, **options))

    def resume(
        self, path: str | Path, *, progress: Callable[[int, int], object] | None = None
    ) -> Session:
        """Takes up a conversation that `Session.save` wrote, with the options that it had.

        What follows is what would have followed there, sample for sample. Raises InputError for a
        file that is no whole saved session, or one of another bundle, other settings of `open` or
        another build of parley, ONNX Runtime or llama.cpp.
        """
        return self._session(self._opened.resume(os.fsencode(path), progress))

    def _session(self, core: _core.Session | _core.Managed, tools: Sequence[Tool] = ()) -> Session:
        session = Session(
            core,
            chunk_samples=self.chunk_samples,
            rate=self.rate,
            out_chunk_samples=self.out_chunk_samples,
            out_rate=self.out_rate,
            resample=self.resample,
            max_turn_s=float(self._manifest["limits"]["max_turn_seconds"]),
            made=self._sessions.add,
            tools=tools,
        )
        self._sessions.add(session)
        return session

    def live(
        self,
        mode: Mode | None = None,
        *,
        devices: bool = True,
        start: bool = True,
        input: str = "",
        output: str = "",
        capture_rate: int = 48000,
        render_rate: int = 48000,
        cancel_echo: bool = True,
        lead_s: float = 0.06,
        render_latency_s: float = 0.03,
        record: bool = False,
        library: str = "",
        **session: Any,
    ) -> Live:
        """Starts a conversation through microphone and loudspeaker, or with the caller's samples.

        mode, session: as in `session()`. devices: False for `Live.capture` and `Live.render`.
        start: False without a thread, for `Live.turn`. input, output: a device's index or a part of
        its name, empty for the default; library: PortAudio's path. capture_rate, render_rate: of
        the devices, Hz. cancel_echo: False with headphones. lead_s: seconds of sound that wait
        against late steps. render_latency_s: from the callback to the loudspeaker. record: keep
        what `Live.recorded` gives. Raises InputError for a device that is not there, LibraryError
        without PortAudio.
        """
        live = open_live(
            self._opened,
            self._start(mode, **session),
            devices=(input, output, library) if devices else None,
            start=start,
            record=record,
            capture_rate=capture_rate,
            render_rate=render_rate,
            cancel_echo=cancel_echo,
            lead_s=lead_s,
            render_latency_s=render_latency_s,
        )
        self._lives.add(live)
        return live

    def resample(self, samples: Floats, rate: int) -> Floats:
        """Samples [n] at `rate` Hz to the bundle's rate, as the model's own front end does it.

        Raises InputError for other samples than finite floats of one channel.
        """
        samples, rate = check_samples(samples, "bundle.resample"), check_rate(rate)
        if rate == self.rate:
            return samples
        return self._opened.resample(samples, rate)

    def _start(
        self,
        mode: str | None,
        *,
        voice: str | None = None,
        timers: Mapping[str, int] | None = None,
        speech_threshold: float = 0.5,
        end_of_turn: EndOfTurn | None = None,
        observe: bool = False,
        progress: Callable[[int, int], object] | None = None,
        **options: Any,
    ) -> _core.Session | _core.Managed:
        core, managed = self._opened, mode == "managed"
        if mode is not None and mode not in self.modes:
            raise InputError(no_such_mode(mode, self.modes, self.name))
        if not managed and timers is not None:
            raise InputError(
                f"[bundle.session] expected mode managed for timers, got {mode or 'none'}; "
                "leave them out or choose it"
            )
        checked = checked_options(options | {"voice": voice or self._voice})
        plain = "turns" if managed else mode
        session = core.session(_core.SessionOptions(mode=plain, **checked), progress)
        if not managed and not (observe and session.mode == "duplex"):
            return session
        return turns.manage(
            core,
            session,
            timers=timers,
            speech_threshold=speech_threshold,
            end_of_turn=end_of_turn,
        )

    def workbench(
        self,
        voice: str | None = None,
        *,
        flow: Mapping[str, object] | None = None,
        noise: Floats | None = None,
    ) -> _core.Workbench:
        """Single stages run by the engine's own code, to compare them with golden numbers.

        flow: settings as `open` takes them, instead of the bundle's.
        noise: [n, z], the flow decoder's from the voice's first latent frame on, in place of noise
        that is drawn.
        """
        return _core.Workbench(self._opened, voice or self._voice, _settings(flow), noise)

    def importance(self) -> dict[str, Floats]:
        """Mean squares of what each column of the backbone's weights met, by weight; see `open`."""
        return self._opened.importance()

    def close(self) -> None:
        """Closes all sessions and lets go of the models; twice does no harm."""
        for live in list(self._lives):
            live.stop()
        for session in list(self._sessions):
            session.close()
        if self._core is not None:
            kernel_forms.keep(self._kernels)
        self._core = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _opened(self) -> _core.Bundle:
        if self._core is None:
            raise InputError(
                "[bundle.use] expected an open bundle, got one after close(); "
                "stay inside the `with` block or open it again"
            )
        return self._core


def open(
    path_or_name: str | Path,
    *,
    device: Device = "cpu",
    threads: int = 0,
    voice: str | None = None,
    verify: bool = True,
    kv: CacheType = "f16",
    flow: Mapping[str, object] | None = None,
    onnxruntime: str | Path | None = None,
    llama: str | Path | None = None,
    on_run: OnRun | None = None,
    importance: bool = False,
) -> Bundle:
    """Opens a bundle: a folder that `parley export` wrote, or the name of an installed one.

    device: "cpu", "cuda" or "tensorrt". threads: 0 takes as many as the machine has; all graphs
    share them, and bundles that are open at once too where they ask for the same number (one that
    asks for another has threads of its own for each graph). voice: for sessions that name none.
    verify: check every file's hash. kv: type of the backbone's cache. flow: settings that stand in
    for those of the manifest's section "flow", as {"mode": "cached"}. onnxruntime, llama: paths of
    the libraries where those of the installed wheels will not do. on_run: gets a graph's name and
    {input: array} before each run of it. importance: for `Bundle.importance`, slower.
    Raises BundleError for a bad or unknown bundle, LibraryError for a missing library or device.

    >>> with parley.open("bundle") as bundle:  # doctest: +SKIP
    ...     print(bundle.name, bundle.modes)
    """
    return Bundle(
        find_bundle(path_or_name),
        device=device,
        threads=threads,
        voice=voice,
        verify=verify,
        kv=kv,
        flow=flow,
        onnxruntime=onnxruntime,
        llama=llama,
        on_run=on_run,
        importance=importance,
    )


def read_manifest(path_or_name: str | Path) -> dict[str, Any]:
    """The checked manifest of a bundle, by path or name; opens no model and needs no library.

    Raises BundleError that names what is wrong with it.
    """
    return _core.read_manifest(os.fsencode(find_bundle(path_or_name)))


def _settings(flow: Mapping[str, object] | None) -> str:
    try:
        return "" if not flow else json.dumps(dict(flow))
    except (TypeError, ValueError) as error:
        raise InputError(
            "[bundle.open] expected flow as a dict of numbers and texts, got "
            f"{reprlib.repr(flow)}: {error}; give settings such as {{'mode': 'cached'}}"
        ) from error
