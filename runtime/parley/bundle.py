"""Opens bundles by path or name over the engine's; knows where bundles lie and no stage."""

from __future__ import annotations

import json
import os
import reprlib
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from parley import _core, arguments, kernel_forms
from parley.arguments import LARGEST_INT, LARGEST_SEED, LARGEST_THREADS
from parley.audio import check_rate, check_samples
from parley.errors import BundleError, InputError
from parley.events import Floats
from parley.libraries import llama_path, onnxruntime_path
from parley.session import Session

Device = Literal["cpu", "cuda", "tensorrt"]
CacheType = Literal["f16", "q8_0", "f32"]

MANIFEST = "manifest.json"
FOLDER_VARIABLE = "PARLEY_BUNDLES"  # a folder of bundles, one per name
BUILT_IN = Path(__file__).parent / "bundles"

_NEEDED = ("seed", "prefill_budget")  # None does not stand for the bundle's own
_WHOLE = {
    "seed": (0, LARGEST_SEED),
    "prefill_budget": (0, LARGEST_INT),
    "top_k": (0, LARGEST_INT),
    "max_new_tokens": (1, LARGEST_INT),
}


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
    ) -> None:
        where = "bundle.open"
        do = "0 takes as many as there are"
        threads = arguments.whole_number(where, "threads", threads, 0, LARGEST_THREADS, do=do)
        self.folder = Path(folder)
        library = os.fsencode(onnxruntime_path(onnxruntime))
        self._kernels = kernel_forms.file(_core.onnxruntime_version(library))
        kernel_forms.restore(self._kernels)
        self._core: _core.Bundle | None = _core.Bundle(
            os.fsencode(folder),
            device=arguments.text(where, "device", device),  # type: ignore[arg-type]
            threads=threads,
            verify=arguments.flag(where, "verify", verify),
            kv=arguments.text(where, "kv", kv),  # type: ignore[arg-type]
            flow=_settings(flow),
            onnxruntime=library,
            llama=os.fsencode(llama_path(llama)),
        )
        self._manifest = self._core.manifest
        self._voice = voice or ""
        if voice is not None and voice not in self.voices:
            raise InputError(
                f"[bundle.open] expected one of the voices {', '.join(self.voices)}, "
                f"got {voice!r}; choose one of them"
            )
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()

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
        """Of "turns" and "duplex" those that the bundle was exported for."""
        return self._opened.modes

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
        mode: Literal["turns", "duplex"] | None = None,
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
        progress: Callable[[int, int], object] | None = None,
    ) -> Session:
        """Starts a conversation.

        mode: "turns" or "duplex"; duplex where None and the bundle has it. seed: same seed and
        input, same conversation. system: the system prompt. temperature (0: always the likeliest
        id), top_k, top_p, max_new_tokens of a reply. All these are the bundle's where None.
        prefill_budget: the most positions of a long prompt per step, 0 for no limit. overlap: a
        second thread makes a chunk's sound while the next chunk is thought about; the same samples
        come one chunk later, which `delay_samples` counts. In turns longer than a segment (30 s),
        another one encodes each full segment meanwhile. progress: told done and all evaluations
        while a voice is set up. Raises InputError for what the bundle lacks or is out of range.
        """
        core = self._opened
        if mode is not None and mode not in core.modes:
            raise InputError(_no_such_mode(mode, core.modes, self.name))
        options = {"system": system, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        options |= {"seed": seed, "max_new_tokens": max_new_tokens}
        options |= {"prefill_budget": prefill_budget, "overlap": overlap}
        options |= {"voice": voice or self._voice}
        session = Session(
            core.session(mode=mode or "", progress=progress, **_checked(options)),
            chunk_samples=core.chunk_samples,
            rate=self.rate,
            out_chunk_samples=core.out_chunk_samples,
            out_rate=self.out_rate,
            resample=self.resample,
            max_turn_s=float(self._manifest["limits"]["max_turn_seconds"]),
        )
        self._sessions.add(session)
        return session

    def resample(self, samples: Floats, rate: int) -> Floats:
        """Samples [n] at `rate` Hz to the bundle's rate, as the model's own front end does it.

        Raises InputError for other samples than finite floats of one channel.
        """
        samples, rate = check_samples(samples, "bundle.resample"), check_rate(rate)
        if rate == self.rate:
            return samples
        return self._opened.resample(samples, rate)

    def workbench(
        self, voice: str | None = None, *, flow: Mapping[str, object] | None = None
    ) -> _core.Workbench:
        """Single stages run by the engine's own code, to compare them with golden numbers.

        flow: settings as `open` takes them, instead of the bundle's.
        """
        return _core.Workbench(self._opened, voice or self._voice, _settings(flow))

    def close(self) -> None:
        """Closes all sessions and lets go of the models; twice does no harm."""
        for session in list(self._sessions):
            session.close()
        if self._core is not None:
            kernel_forms.keep(self._kernels)
        self._core = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
) -> Bundle:
    """Opens a bundle: a folder that `parley export` wrote, or the name of an installed one.

    device: "cpu", "cuda" or "tensorrt". threads: 0 takes as many as the machine has; all graphs
    share them, and bundles that are open at once too where they ask for the same number (one that
    asks for another has threads of its own for each graph). voice: for sessions that name none.
    verify: check every file's hash. kv: type of the backbone's cache. flow: settings that stand in
    for those of the manifest's section "flow", as {"mode": "cached"}. onnxruntime, llama: paths of
    the libraries where those of the installed wheels will not do.
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
    )


def read_manifest(path_or_name: str | Path) -> dict[str, Any]:
    """The checked manifest of a bundle, by path or name; opens no model and needs no library.

    Raises BundleError that names what is wrong with it.
    """
    return _core.read_manifest(os.fsencode(find_bundle(path_or_name)))


def find_bundle(path_or_name: str | Path) -> Path:
    """The folder of a bundle: a path, or a name in the PARLEY_BUNDLES folder or built in.

    Raises BundleError that lists the known names.
    """
    path = Path(os.fsdecode(path_or_name))
    if (path / MANIFEST).is_file():
        return path
    if path.is_dir():
        raise BundleError(
            f"[bundle.open] expected a bundle in {path}, got a folder without {MANIFEST}; "
            "make one with `parley export CHECKPOINT --out BUNDLE`"
        )
    known = named_bundles()
    if str(path_or_name) in known:
        return known[str(path_or_name)]
    names = ", ".join(known) or "none"
    raise BundleError(
        f"[bundle.open] expected the folder or the name of a bundle, got {str(path_or_name)!r}; "
        f"known names: {names}. Give a path, set {FOLDER_VARIABLE} to the folder that holds your "
        "bundles, or make one with `parley export CHECKPOINT --out BUNDLE`"
    )


def named_bundles() -> dict[str, Path]:
    """Names of bundles and their folders: those of PARLEY_BUNDLES, then the built-in ones."""
    folders = [BUILT_IN]
    if variable := os.environ.get(FOLDER_VARIABLE):
        folders.insert(0, Path(variable))
    found: dict[str, Path] = {}
    for folder in folders:
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """A session's options as the engine takes them; None stays, where the bundle's stands in."""
    where, checked = "bundle.session", dict(options)
    for name, value in options.items():
        if name in _WHOLE and (value is not None or name in _NEEDED):
            checked[name] = arguments.whole_number(where, name, value, *_WHOLE[name])
        elif name in ("temperature", "top_p") and value is not None:
            checked[name] = arguments.number(where, name, value)
        elif name in ("voice", "system") and value is not None:
            checked[name] = arguments.text(where, name, value)
        elif name == "overlap":
            checked[name] = arguments.flag(where, name, value)
    return checked


def _settings(flow: Mapping[str, object] | None) -> str:
    try:
        return "" if not flow else json.dumps(dict(flow))
    except (TypeError, ValueError) as error:
        raise InputError(
            "[bundle.open] expected flow as a dict of numbers and texts, got "
            f"{reprlib.repr(flow)}: {error}; give settings such as {{'mode': 'cached'}}"
        ) from error


def _no_such_mode(mode: str, modes: list[str], name: str) -> str:
    have = " and ".join(modes)
    if mode == "duplex":
        return (
            f"[bundle.session] expected a bundle with mode duplex, got {name!r}, which has {have}; "
            "export a checkpoint that is trained for full duplex with `parley export --duplex`, "
            "or use `--mode turns` (in Python mode='turns')"
        )
    return (
        f"[bundle.session] expected one of the modes of {name!r}, which are {have}, got {mode!r}; "
        "choose one of them"
    )
