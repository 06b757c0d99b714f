"""`parley devices`: the microphones and loudspeakers that there are."""

from __future__ import annotations

import argparse
import dataclasses
import json

from parley_apps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description = "Lists sound devices. An index or a part of a name chooses one in `talk`."
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_json(parser, "the list")


def run(args: argparse.Namespace) -> int:
    import parley

    devices = parley.audio_devices()
    if args.json:
        print(json.dumps([dataclasses.asdict(device) for device in devices]))
        return 0
    for device in devices:
        default = {(True, True): "  default", (True, False): "  default microphone"}
        marks = default.get((device.default_input, device.default_output), "")
        if not marks and device.default_output:
            marks = "  default loudspeaker"
        print(
            f"{device.index:3d}  {device.name}  ({device.host}; {device.inputs} in, "
            f"{device.outputs} out, {device.rate:.0f} Hz){marks}"
        )
    if not devices:
        print("no sound devices")
    return 0
