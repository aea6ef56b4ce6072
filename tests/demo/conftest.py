"""The demo is scripts in a folder, not a package: they find each other on the path, and so do the tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "demo"))
