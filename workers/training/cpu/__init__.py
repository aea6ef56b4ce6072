"""The CPU engine: fine-tuning without work on padding, in kernels that are fast there. Its contract: README.md here.

This is its only door: nobody outside imports what lies behind it.
"""

from workers.training.cpu.engine import Engine, EngineName, fast_path
from workers.training.cpu.packing import real_tokens

__all__ = ["Engine", "EngineName", "fast_path", "real_tokens"]
