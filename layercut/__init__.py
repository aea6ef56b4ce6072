"""Makes transformer models smaller by dropping whole layers. `layercut.client` asks a service for it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("layercut")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
