"""nano with overlap: the same conversation, heard one chunk later."""

import numpy as np
import pytest
from bundle_run import BUNDLE, GOLDEN_S, RECORDING

import parley

pytestmark = pytest.mark.skipif(
    not (BUNDLE / "manifest.json").is_file(), reason="no models/nano/bundle; make nano makes one"
)


def test_overlap_gives_the_same_samples_one_chunk_later() -> None:
    samples, rate = parley.read_audio(RECORDING)
    sound, drawn, delays = [], [], []
    with parley.open(BUNDLE, threads=1) as bundle:
        chunk = bundle.chunk_samples
        samples = bundle.resample(samples, rate)[: round(GOLDEN_S * bundle.rate)]
        for overlap in (False, True):
            with bundle.session("duplex", overlap=overlap) as session:
                steps = list(session.feed(samples))
                delays.append(session.delay_samples)
            sound.append(np.concatenate([step.samples for step in steps]))
            drawn.append([e for step in steps for e in step.events if e.kind in ("text", "audio")])
    plain, late = sound
    assert delays[1] == delays[0] + chunk
    assert np.abs(plain).max() > 0 and drawn[0] == drawn[1] != []
    assert not late[:chunk].any()
    np.testing.assert_array_equal(late[chunk:], plain[:-chunk])
