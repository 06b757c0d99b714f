"""`parley voice`: a recording becomes a voice, by the checkpoint's own models; knows no family."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from parley_apps import errors, options

CONSENT = (
    "A voice is of the person who speaks in the recording: have their consent, and tell listeners "
    "that they hear a machine."
)

EXAMPLES = """\
Turns a recording of 1 to 17 s into a voice that `parley export --voice` takes, by the speaker and
token models that lie with the checkpoint's decoder. One speaker, clean, without music; what is said
does not matter. Needs parley[export]. Not every family has such models.

examples:
  parley voice me.wav --checkpoint CHECKPOINT --out my.voice
  parley export CHECKPOINT --voice my.voice --out my.bundle
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    add = parser.add_argument
    add("recording", metavar="RECORDING", type=Path, help="WAV, FLAC, MP3 or another sound file")
    add("--out", metavar="VOICE", type=Path, required=True, help="folder to create")
    add("--checkpoint", metavar="DIR", type=Path, required=True, help="whose models make the voice")
    add("--token2wav", metavar="DIR", type=Path, help="where its decoder lies, if elsewhere")
    options.add_json(parser, "what was made")


def run(args: argparse.Namespace) -> int:
    import parley

    try:
        from parley_export import families
    except ImportError as error:
        raise ImportError(
            f"[voice.make] expected the packages of the exporter, got no {error.name}; "
            "run `pip install 'parley[export]'`"
        ) from error
    family = families.of(args.checkpoint)
    if family.make_voice is None:
        raise parley.InputError(
            f"[voice.make] expected a family whose checkpoints hold models for voices, got "
            f"{family.title}; give its voice as files (parley export --voice)"
        )
    if args.out.exists():
        raise parley.InputError(
            f"[voice.make] expected no file {args.out}, got one; name another folder or remove it"
        )
    samples, rate = parley.read_audio(args.recording)
    token2wav = args.token2wav or args.checkpoint / "token2wav"
    made = family.make_voice(samples, rate, token2wav, args.out)
    facts = {
        "voice": str(args.out),
        "seconds": round(len(samples) / rate, 2),
        "codes": len(made.tokens),
        "frames": len(made.latents),
        "family": family.name,
        "consent": CONSENT,
        "licence": family.notice,
    }
    print(f"{CONSENT}\n{family.notice}", file=sys.stderr)
    if args.json:
        print(json.dumps(facts))
    else:
        print(f"wrote {args.out}: {facts['codes']} codes of {facts['seconds']} s")
    return errors.OK
