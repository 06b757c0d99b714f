"""Name the errors that exporting raises; knows nothing of checkpoints or bundles.

They are the public classes of the package `parley` where its engine is installed, so one `except`
serves both. The exporter also runs without the engine (in a container that only converts), with
classes of the same names.
"""

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
        advice: what the user can do, the end of the message.
    """

    def __init__(self, where: str, advice: str):
        self.where = where
        self.advice = advice
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def add_from(self, error: Exception) -> None:
        """Take over what a failed check said; its own `[room.verb]` stays in the text."""
        self.found.append(str(error))

    def raise_if_any(self) -> None:
        """Raise BundleError with one line per problem, if there was any."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise BundleError(f"[{self.where}] {self.found[0]}; {self.advice}")
        lines = "\n".join(f"  - {p}" for p in self.found)
        raise BundleError(
            f"[{self.where}] expected a complete checkpoint, got {len(self.found)} problems; "
            f"{self.advice}\n{lines}"
        )
