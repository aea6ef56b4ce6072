"""Checks an exported folder as its user would meet it: with stock `transformers` and none of our code.

A program of its own, run by path: it must not import anything of this repository, but for the files beside it. It reads
one JSON object from stdin, ``{folder, probe, layers, source_bytes, kind, shared_layers, dtype, mapped, source,
embeddings, pipeline, tokens, formats, elsewhere}``, and prints one, ``{checks: [{name, passed, detail}], versions,
cannot}``. ``source`` is null
but for a model whose tensors were copied: then it has the ``folder`` they came from and their ``origins``, ``{name:
[file, name there]}``. ``embeddings`` is null but for a sentence-transformers folder: then it has ``texts``, names of
``prompts``, the file of the ``vectors`` expected of both, and what the source is ``described`` by. ``pipeline`` is null
but for a model that was trained for one: then it has the ``task``, the ``labels`` in id order and the ``problem`` that
config.json must name. ``tokens`` are texts, and what the tokenizer ``made`` of each. ``formats`` are further ones that
lie in the folder, ``{name, file, tolerance}``, and each is a check. A check that cannot be carried out has failed.
``elsewhere``: libraries of another version are asked, and only what depends on them; ``cannot`` says why these cannot
read the folder at all.
"""

from __future__ import annotations

import json
import sys

from .examine import examine

json.dump(examine(json.load(sys.stdin)), sys.stdout)
