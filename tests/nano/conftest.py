"""Makes nano's recipe importable for its tests; knows no step of it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("models/nano", "export"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))
