"""An S3 server, as the tests start it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # the tests are in no package that is installed

from tests.support.seaweedfs import BUCKET, OWNER, REGION, Seaweed, seaweed

__all__ = ["BUCKET", "OWNER", "REGION", "Seaweed", "seaweed"]
