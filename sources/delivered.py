"""The model among the files that an earlier job delivered, looked at where they are kept, and read from there.

It is read as anybody's: bounded, by its index and its headers. That no other bytes are used than those of the job's own
list is what the sha256 of each file is for. The store itself is known to whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import PREFIX
from api_schemas.errors import LayercutError
from sources.facts import INDEX, WEIGHTS, check_config, choose_weights, make_facts, merge_shards, read_index
from sources.fingerprint import digest
from sources.headers import MAX_HEADERS, Tensor, begin_of, invalid, layout_from
from sources.model_files import check_shards, check_total, is_allowed, is_notice, needed_files
from sources.model_folder import with_modules
from sources.sentence_transformers import ModelFiles, Modules, read_modules
from sources.strict_json import limit_of, parse

#: What is asked for first of a safetensors file: most headers are within.
FIRST_BYTES = 64 << 10


@dataclass(frozen=True)
class StoredFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class DeliveredFiles:
    """All files of the artifact of ``job``, by name. ``read`` gives the bytes of one from a first up to, not including,
    a last.
    """

    job: str
    files: Mapping[str, StoredFile]
    read: Callable[[str, int, int], Iterable[bytes]]

    @property
    def id(self) -> str:
        """How a request names its model."""
        return f"{PREFIX}{self.job}"

    @property
    def sizes(self) -> dict[str, int]:
        return {name: file.bytes for name, file in self.files.items()}

    @property
    def sha256(self) -> str:
        """Of the contents of the model's files: what is said of the model beside them does not count."""
        names = sorted(name for name in self.files if is_allowed(name) and not is_notice(name))
        return digest("delivered", files={name: self.files[name].sha256 for name in names})

    def start(self, name: str, count: int) -> bytes:
        """Its first ``count`` bytes, or all where it has fewer."""
        return b"".join(self.read(name, 0, min(count, self.files[name].bytes)))

    def json(self, name: str) -> object:
        """What the file says; raises ``model_invalid`` where it is too large, too deep or no JSON."""
        return parse(self.start(name, limit_of(name) + 1), name)


def delivered_facts(found: DeliveredFiles, *, modules: bool, most: int) -> ModelFacts:
    """The facts of the model; its weights may have ``most`` bytes. Raises ``validation_failed`` where there is none,
    and as ``read_facts``.
    """
    check_has_model(found)
    config = found.json("config.json")
    check_config(config, found.id)
    assert isinstance(config, dict)
    names = chosen_files(found, modules=modules)
    weights = [name for name in weight_files(found) if name in names]
    check_total({name: found.files[name].bytes for name in names}, most, found.id)
    tensors = merge_shards({name: _header(found, name) for name in weights}, _weight_map(found), found.id)
    size = sum(found.files[name].bytes for name in weights)
    facts = make_facts(found.id, config, tensors=tensors, size=size)
    return with_modules(facts, _modules(found) if modules else None)


def check_has_model(found: DeliveredFiles) -> None:
    """Raise ``validation_failed`` for the artifact of a job that evaluated a model, and delivered none."""
    if "config.json" not in found.files:
        raise LayercutError(
            "validation_failed", f"{found.job} evaluated a model and delivered none: name the job that made the model"
        )


def chosen_files(found: DeliveredFiles, *, modules: bool) -> list[str]:
    """The files that a job reads of the model; those of its sentence-transformers ``modules`` where they are wanted."""
    carried = _modules(found) if modules else None
    return needed_files(found.sizes, sorted(set(_weight_map(found).values())), carried.files if carried else ())


def weight_files(found: DeliveredFiles) -> list[str]:
    """The safetensors files of the model itself."""
    return sorted(set(_weight_map(found).values())) or [WEIGHTS]


def _weight_map(found: DeliveredFiles) -> dict[str, str]:
    """Which shard each tensor is in; empty where the weights are one file."""
    if choose_weights(found.files, found.id) != INDEX:
        return {}
    weight_map = read_index(found.json(INDEX), found.id)
    check_shards(sorted(set(weight_map.values())), found.files, found.id)
    return weight_map


def _modules(found: DeliveredFiles) -> Modules | None:
    return read_modules(ModelFiles(found.id, lambda name: name in found.files, found.json))


def _header(found: DeliveredFiles, name: str) -> dict[str, Tensor]:
    size = found.files[name].bytes
    first = found.start(name, FIRST_BYTES)
    begin = begin_of(first, size, name)
    if begin > MAX_HEADERS:
        raise invalid(f"the header of {name} has {begin} bytes")
    header = first if begin <= len(first) else found.start(name, begin)
    return layout_from(header[8:begin], name, size).tensors
