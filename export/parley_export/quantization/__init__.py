"""From a bundle to a smaller bundle: types per stage, without checkpoint and without torch."""
