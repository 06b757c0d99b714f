"""Puts manifest.json together from a family's sections and what every bundle has; writes no file.

The engine's reader is strict: it knows exactly these keys.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

SCHEMA_VERSION = 1
Section = dict[str, Any]


class Sections(TypedDict):
    """What a family knows of its bundle; a mode that the bundle lacks is None.

    head: of a decoder that makes the codes; only where the bundle has one.
    """

    rates: dict[str, int]
    front_end: Section
    backbone: Section
    head: NotRequired[Section]
    vocabulary: Section
    turns: Section | None
    duplex: Section | None
    prompts: dict[str, str]
    flow: Section
    vocoder: dict[str, int]
    limits: dict[str, int]


class Source(TypedDict):
    """Where the weights came from, and what their user must be shown."""

    location: str
    sha256: dict[str, str]  # of the checkpoint's files
    licence: str
    notice: str


class FileEntry(TypedDict):
    """One file of the bundle."""

    bytes: int
    sha256: str


class Manifest(TypedDict):
    """manifest.json, its keys in the order in which they are written."""

    schema_version: int
    family: str
    name: str
    source: Source
    created_by: dict[str, str]
    files: dict[str, FileEntry]
    rates: dict[str, int]
    front_end: Section
    graphs: dict[str, Any]
    backbone: Section
    head: NotRequired[Section]
    vocabulary: Section
    turns: Section | None
    duplex: Section | None
    prompts: dict[str, str]
    flow: Section
    vocoder: dict[str, int]
    voices: dict[str, Any]
    default_voice: str
    limits: dict[str, int]
