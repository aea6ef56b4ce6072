"""The gateway: HTTP in front of the store. It never imports torch, transformers or anything of ``workers``."""
