"""The CPU engine: fine-tuning without work on padding, in kernels that are fast there."""
