"""What the exporter knows of each kind of checkpoint, a folder per family."""
