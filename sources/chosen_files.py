"""The files of a model's folder that are read, hashed and staged: those that its checked index chooses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from api_schemas.errors import LayercutError
from sources.any_folder import AnyFolder
from sources.facts import INDEX, choose_weights, merge_shards, read_index
from sources.headers import MAX_HEADERS, Tensor, invalid
from sources.model_files import check_shards, is_allowed, is_notice, needed_files
from sources.sentence_transformers import Modules
from sources.strict_json import limit_of, parse

#: What a config or a tokenizer is read from, beside *.json.
TEXTS = (".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class ChosenFiles:
    """``sizes`` has the bytes of each file, by its path in the folder; ``weights`` are those of the model itself, and
    ``tensors`` what their headers describe.
    """

    sizes: dict[str, int]
    weights: list[str]
    tensors: dict[str, Tensor]

    @property
    def texts(self) -> list[str]:
        """The config, the tokenizer and the other small files beside them that loading may read."""
        return [name for name in self.sizes if "/" not in name and PurePosixPath(name).suffix in TEXTS]

    @property
    def weights_bytes(self) -> int:
        return sum(self.sizes[name] for name in self.weights)


def choose_files(folder: AnyFolder, modules: Modules | None = None) -> ChosenFiles:
    """What is read of ``folder`` and of its checked ``modules``; whatever else lies there, such as shards that no index
    lists, is not.

    Each file of weights has exactly the bytes that its header describes, and each tensor is where the index says.
    Raises ``model_invalid`` and ``model_not_allowed``.
    """
    names = folder.names()
    weights = choose_weights(names, folder.id)
    weight_map = read_index(read_json(folder, INDEX), folder.id) if weights == INDEX else {}
    shards = sorted(set(weight_map.values()))
    check_shards(shards, names, folder.id)
    files = shards or [weights]
    tensors = merge_shards(read_headers(folder, files), weight_map, folder.id)
    # No folder below is listed, however it is called: some hundred of them with ten thousand names each cost minutes.
    carried = modules.files if modules else ()
    below = [name for name in carried if "/" in name and folder.has(name)]
    sizes = dict(_sizes(folder, [*names, *below]))
    chosen = needed_files(sizes, shards, carried)
    return ChosenFiles({name: sizes[name] for name in chosen}, files, tensors)


def read_headers(folder: AnyFolder, files: Iterable[str]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each safetensors file; all headers together are bounded as one is."""
    found: dict[str, dict[str, Tensor]] = {}
    left = MAX_HEADERS
    for name in files:
        layout = folder.layout(name)
        left -= layout.begin
        if left < 0:
            raise invalid(
                f"the safetensors files of {folder.id!r} have headers of more than {MAX_HEADERS} bytes in all"
            )
        found[name] = layout.tensors
    return found


def read_json(folder: AnyFolder, name: str) -> Any:
    """What the JSON file ``name`` says; raises ``model_invalid`` where it is too large, too deep or no JSON."""
    return parse(folder.read(name, limit_of(name)), name)


def _sizes(folder: AnyFolder, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Of those files of ``names`` that have an allowed one."""
    for name in filter(is_allowed, names):
        try:
            yield name, folder.size(name)
        except LayercutError:
            if not is_notice(name):  # a folder LICENSES, say, is left out
                raise
