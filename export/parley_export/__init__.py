"""From a checkpoint folder to a bundle; knows no session and no audio device."""
