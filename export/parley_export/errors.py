"""Name the errors that exporting raises; knows nothing of checkpoints or bundles.

They are the public classes of the package `parley` where its engine is installed, so one `except`
serves both. The exporter also runs without the engine (in a container that only converts), with
classes of the same names.
"""

from collections.abc import Callable
from typing import Any

try:
    from parley import BundleError, CancelledError, Error, InputError, LibraryError
except ImportError:

    class Error(RuntimeError):  # type: ignore[no-redef]
        """Base of all errors of parley."""

    class BundleError(Error):  # type: ignore[no-redef]
        """A checkpoint or a bundle is damaged, incomplete or of an unknown kind."""

    class InputError(Error, ValueError):  # type: ignore[no-redef]
        """The caller's arguments cannot be used."""

    class LibraryError(Error):  # type: ignore[no-redef]
        """A library is missing, or is of a version that does not fit."""

    class CancelledError(Error):  # type: ignore[no-redef]
        """The work was stopped by the caller."""


__all__ = ["BundleError", "CancelledError", "Error", "InputError", "LibraryError", "Problems"]


class Problems:
    """Collect everything that is wrong, so that one error names all of it.

    Args:
        where: the `room.verb` that stands at the start of the message.
        advice: what the user can do about what is found here. What other checks found comes with
            its own advice.
    """

    def __init__(self, where: str, advice: str):
        self.where = where
        self.advice = advice
        self._own: list[str] = []
        self._errors: list[BundleError] = []

    def add(self, problem: str) -> None:
        self._own.append(problem)

    def add_from(self, error: BundleError) -> None:
        """Take over what a failed check said, as it said it; once where several say the same."""
        if str(error) not in map(str, self._errors):
            self._errors.append(error)

    def collect(self, read: Callable[[], Any]) -> Any:
        """What `read` gives, or None where it fails with a BundleError, which is taken over."""
        try:
            return read()
        except BundleError as e:
            self.add_from(e)
            return None

    def raise_if_any(self) -> None:
        """Raise BundleError with one line per problem, if there was any."""
        n = len(self._own) + len(self._errors)
        if n == 0:
            return
        if n == 1:
            raise next(
                iter(self._errors),
                BundleError(f"[{self.where}] {''.join(self._own)}; {self.advice}"),
            )
        lines = [str(error) for error in self._errors]
        ending = f"; {self.advice}"
        if lines:  # each says what to do about it
            lines += [problem + ending for problem in self._own]
            ending = ""
        else:
            lines = self._own
        told = "\n".join(f"  - {line}" for line in lines)
        raise BundleError(
            f"[{self.where}] expected a complete checkpoint, got {n} problems{ending}\n{told}"
        )
