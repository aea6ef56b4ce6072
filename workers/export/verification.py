"""Checks an exported folder as its user would meet it: with stock `transformers` and none of our code.

A program of its own, run by path: it must not import anything of this repository. It reads one JSON object from
stdin, ``{folder, probe, layers, source_bytes, kind, shared_layers, dtype, mapped, source, embeddings, pipeline}``,
and prints one, ``{checks: [{name, passed, detail}], versions}``. ``source`` is null but for a model whose tensors were
copied: then it has the ``folder`` they came from and their ``origins``, ``{name: [file, name there]}``. ``embeddings``
is null but for a sentence-transformers folder: then it has ``texts``, names of ``prompts``, the file of the ``vectors``
expected of both, and what the source is ``described`` by. ``pipeline`` is null but for a model that was trained for
one: then it has the ``task``, the ``labels`` in id order and the ``problem`` that config.json must name. A check that
cannot be carried out has failed.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig

ROOMS = {"api_schemas", "store", "sources", "service", "workers", "cli"}
SAFE_NAMES = {"SHA256SUMS", "LICENSE", "NOTICE"}
SAFE_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md"}
PICKLE_STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
# Of the largest expected value: kernels may add up in another order, and nothing more.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# Tokens; fewer of a model that is larger than memory, and read from its files again for each.
GENERATED = {False: 20, True: 3}
PIPELINE_TEXT = "Ada Lovelace, of London, wrote the first one"

LOCAL: Any = {"local_files_only": True, "trust_remote_code": False}
Said = tuple[bool, str]


def check_files(asked: dict[str, Any], _: Any) -> Said:
    """Only files that hold no code: no pickle by name, and none by content."""
    files = [path for path in Path(asked["folder"]).rglob("*") if not path.is_dir()]
    bad = sorted(path.name for path in files if not _is_safe(path))
    return not bad, f"files that could hold code: {', '.join(bad)}" if bad else f"{len(files)} files, none holds code"


def _is_safe(path: Path) -> bool:
    if path.is_symlink() or not (path.name in SAFE_NAMES or path.suffix in SAFE_SUFFIXES):
        return False
    # A safetensors file starts with the length of its header, which may be any bytes.
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return not file.read(4).startswith(PICKLE_STARTS)


def check_hashes(asked: dict[str, Any], _: Any) -> Said:
    """SHA256SUMS names every file, and every file has its hash."""
    folder = Path(asked["folder"])
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    there.pop("SHA256SUMS")
    if sums.keys() != there.keys():
        return False, f"files and SHA256SUMS differ: {', '.join(sorted(sums.keys() ^ there.keys()))}"
    wrong = sorted(name for name, path in there.items() if _sha256(path) != sums[name])
    return not wrong, f"wrong hash: {', '.join(wrong)}" if wrong else f"{len(sums)} files have their sha256"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_loads(asked: dict[str, Any], loaded: Any) -> Said:
    """The class that config.json names loads, and every tensor has its place; in a copy, all that had one before."""
    model, info = loaded()
    wrong = [f"{what.removesuffix('_keys')}: {_listed(info[what])}" for what in sorted(info) if info[what]]
    if not wrong:
        return True, f"{type(model).__name__} has all its tensors, and no other"
    if not asked["source"]:
        return False, "; ".join(wrong)
    alike = _wrong_before(asked, type(model)).issuperset(_pairs(info))
    return alike, f"{'as in' if alike else 'not all as in'} the original, {'; '.join(wrong)}"


def _wrong_before(asked: dict[str, Any], stock_class: Any) -> set[tuple[str, str]]:
    """What is wrong with the original, by the names that its tensors have now."""
    new = {old: name for name, (_, old) in asked["source"]["origins"].items()}
    # It may ask for an attention that this machine lacks; which one computes does not change what its tensors are.
    dtype = getattr(torch, asked["dtype"])
    _, info = _load(asked["source"]["folder"], dtype, stock_class, attn_implementation="eager")
    return {(what, new.get(key, key)) for what, key in _pairs(info)}


def _pairs(info: dict[str, Any]) -> set[tuple[str, str]]:
    return {(what, str(key)) for what, keys in info.items() for key in keys}


def check_tensors(asked: dict[str, Any], _: Any) -> Said:
    """Every tensor has type, shape and bytes of the one that it is a copy of; and there is no other."""
    source, origins = asked["source"]["folder"], dict(asked["source"]["origins"])
    count = len(origins)
    for path in sorted(Path(asked["folder"]).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                home, old = origins.pop(name)
                with safe_open(Path(source) / home, "pt") as original:
                    if not _same(file.get_tensor(name), original.get_tensor(old)):
                        return False, f"{name} is not {old} of the original"
    return not origins, f"not there: {_listed(origins)}" if origins else f"{count} tensors have the original's bytes"


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def check_tokenizer(asked: dict[str, Any], _: Any) -> Said:
    """The tokenizer loads, and pads or cuts only where it is asked to."""
    tokenizer = _tokenizer(asked["folder"])
    backend = getattr(tokenizer, "backend_tokenizer", None)
    baked = backend is not None and bool(backend.padding or backend.truncation)
    found = len(tokenizer("one two three")["input_ids"])
    return found > 0 and not baked, f"{type(tokenizer).__name__}{' pads or cuts by itself' if baked else ''}"


def check_padding(asked: dict[str, Any], loaded: Any) -> Said:
    """A decoder's classifier reads the last token that is not padding: model and tokenizer agree on which that is."""
    if asked["kind"] != "decoder" or not _class_name(asked["folder"]).endswith("ForSequenceClassification"):
        return True, "what it says does not depend on which token pads"
    model, _ = loaded()
    tokenizer = _tokenizer(asked["folder"])
    pads = model.config.get_text_config().pad_token_id, tokenizer.pad_token_id
    if pads[0] is None or pads[0] != pads[1]:
        return False, f"config.json pads with token {pads[0]}, and the tokenizer with {pads[1]}"
    texts = ["one", "one two three four"]
    together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    return _near(together, alone), f"two texts in one batch, and one by one: both pad with token {pads[0]}"


def check_layers(asked: dict[str, Any], loaded: Any) -> Said:
    """config.json says the right number of layers, and a text goes through as many."""
    model, _ = loaded()
    counts = {field: getattr(model.config, field) for field in asked["layers"]}
    out = model.base_model(**_probe(asked)[0], output_hidden_states=True)
    names = ("encoder_hidden_states", "decoder_hidden_states") if len(counts) > 1 else ("hidden_states",)
    ran = [len(getattr(out, name)) - 1 for name in names]
    kept = list(asked["layers"].values())
    said = (" and ".join(map(str, numbers)) for numbers in (counts.values(), ran, kept))
    return list(counts.values()) == ran == kept, "config says {}, {} ran, {} were kept".format(*said)


def check_outputs(asked: dict[str, Any], loaded: Any) -> Said:
    """The outputs are those of the model that was exported."""
    model, info = loaded()
    inputs, expected = _probe(asked)
    found, base = outputs_of(model, inputs)
    if info["missing_keys"]:  # drawn at random whenever it is loaded, as in the original: only what comes before counts
        found, expected = base, load_file(asked["probe"])["expected_base"]
    if found.shape != expected.shape:
        return False, f"shape {list(found.shape)}, not {list(expected.shape)}"
    far, allowed = _far(found, expected), _allowed(expected)
    detail = f"largest difference {far:.2g} over {expected.numel()} outputs, {allowed:.2g} allowed"
    return _near(found, expected), detail


def _far(found: Any, expected: Any) -> float:
    return float((found.float() - expected.float()).abs().max())


def _allowed(expected: Any) -> float:
    return TOLERANCES[expected.dtype] * max(1.0, float(expected.abs().max()))


def _near(found: Any, expected: Any) -> bool:
    # Compared so that a NaN on either side fails.
    return _far(found, expected) <= _allowed(expected)


def check_generates(asked: dict[str, Any], loaded: Any) -> Said:
    """The tokens it generates with a key-value cache are those that it would choose without one.

    Each layer looks its own past up by its number. Where two tokens are as good within rounding, either is right.
    """
    if asked["kind"] == "encoder":
        return True, "an encoder does not generate"
    model, _ = loaded()
    if not model.can_generate():
        return True, f"{type(model).__name__} does not generate"
    count = GENERATED[asked["mapped"]]
    prompt = _prompt(asked, model, count)
    config, encodes = model.config, model.config.is_encoder_decoder
    first = model.generation_config.decoder_start_token_id
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id or 0,
        bos_token_id=config.bos_token_id,
        decoder_start_token_id=(config.pad_token_id or 0) if encodes and first is None else first,
    )
    given = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    said = model.generate(**given, max_new_tokens=count, do_sample=False, use_cache=True)
    whole = {**given, "decoder_input_ids": said[:, :-1]} if encodes else {"input_ids": said[:, :-1]}
    logits = model(**whole, use_cache=False).logits[0, -count:]
    chosen = logits.gather(1, said[0, -count:, None])[:, 0]
    return _near(chosen, logits.max(1).values), f"{count} tokens with a cache, compared with one pass without"


def _prompt(asked: dict[str, Any], model: Any, count: int) -> Any:
    """The first text of the probe without its padding, and short enough to go on from."""
    inputs, _ = _probe(asked)
    ids = inputs["input_ids"][:1, inputs["attention_mask"][0].bool()]
    longest = getattr(model.config, "max_position_embeddings", None) or ids.shape[1] + count
    return ids[:, : max(1, longest - count)]


def outputs_of(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the model, and of its base on the way, or by itself where the model goes past it, as OPT does."""
    on_the_way: list[torch.Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _module, _inputs, output: on_the_way.append(output[0]))
    try:
        outputs = model(**inputs)[0]
        return outputs, on_the_way[0] if on_the_way else model.base_model(**inputs)[0]
    finally:
        hook.remove()


def check_pipeline(asked: dict[str, Any], loaded: Any) -> Said:
    """config.json names the task's labels, in their order, and stock `pipeline` answers with what the model says."""
    wanted, (model, _) = asked["pipeline"], loaded()
    if not wanted:
        return True, "no pipeline is for this task"
    said = {"labels": [model.config.id2label[at] for at in range(model.config.num_labels)]}
    said["problem"] = model.config.problem_type
    wrong = [f"config.json says {name} {said[name]}, not {wanted[name]}" for name in said if said[name] != wanted[name]]
    if wrong:
        return False, "; ".join(wrong)[:1000]
    tokenizer = _tokenizer(asked["folder"])
    options: Any = {"top_k": None} if wanted["task"] == "text-classification" else {"ignore_labels": []}
    found = transformers.pipeline(wanted["task"], model=model, tokenizer=tokenizer, **options)(PIPELINE_TEXT)
    found = found[0] if found and isinstance(found[0], list) else found
    encoded = tokenizer(PIPELINE_TEXT, return_tensors="pt", return_special_tokens_mask=True)
    inside = encoded.pop("special_tokens_mask")[0] == 0
    right = _answers(found, model(**encoded).logits[0], inside, said)
    return right, f"{wanted['task']}: {len(found)} answers to a text, of {len(said['labels'])} labels"


def _answers(found: list[dict[str, Any]], logits: Any, inside: Any, said: dict[str, Any]) -> bool:
    """Whether they are a label for each token ``inside`` the text; or all labels, as likely as the model says."""
    names = said["labels"]
    if logits.ndim > 1:
        return [row["entity"] for row in found] == [names[at] for at in logits[inside].argmax(dim=-1).tolist()]
    likely = logits.sigmoid() if said["problem"] == "multi_label_classification" else logits.softmax(dim=-1)
    scores = {row["label"]: row["score"] for row in found}
    return scores.keys() == set(names) and _near(torch.tensor([scores[name] for name in names]), likely)


def check_size(asked: dict[str, Any], _: Any) -> Said:
    """The weights take fewer bytes than those of the full model."""
    size, source = sum(map(_tensor_bytes, Path(asked["folder"]).glob("*.safetensors"))), asked["source_bytes"]
    if asked["shared_layers"]:
        return True, f"{size} bytes: layers share their weights, so dropping some does not make the file smaller"
    return 0 < size < source, f"{size} bytes of weights, {source} before"


def _tensor_bytes(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    return path.stat().st_size - 8 - int(length)


def check_sentence_transformers(asked: dict[str, Any], _: Any) -> Said:
    """Stock sentence-transformers makes of a text what the source's modules make of it over the pruned model."""
    expected = asked["embeddings"]
    if not (Path(asked["folder"]) / "modules.json").exists():
        return expected is None, "not a sentence-transformers folder"
    if asked["mapped"]:
        return True, "its files are those of the source; larger than memory, so its vectors were not compared"
    model = load_embedding_model(asked["folder"], getattr(torch, asked["dtype"]))
    found = described(model)
    was = expected["described"]
    wrong = [f"{name} is {found[name]}, not {was[name]}" for name in was if found[name] != was[name]]
    if wrong:
        return False, "; ".join(wrong)[:1000]
    vectors = load_file(expected["vectors"])["expected"]
    again = embeddings_of(model, expected["texts"], expected["prompts"])
    if again.shape != vectors.shape:
        return False, f"vectors of shape {list(again.shape)}, not {list(vectors.shape)}"
    # Of unit length they have small numbers: what is allowed is a share of the largest.
    far, allowed = _far(again, vectors), TOLERANCES[vectors.dtype] * float(vectors.abs().max())
    modules = ", ".join(name.rpartition(".")[2] for name in found["modules"])
    return far <= allowed, f"{modules}: largest difference {far:.2g} over {len(vectors)} vectors, {allowed:.2g} allowed"


def load_embedding_model(folder: str, dtype: torch.dtype) -> Any:
    """With stock sentence-transformers: seconds to import, so it is imported for those that need it alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that older releases wrote into modules.json
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        options = {"dtype": dtype, "use_safetensors": True}
        return SentenceTransformer(folder, device="cpu", model_kwargs=options, **LOCAL)


def described(model: Any) -> dict[str, Any]:
    """What a SentenceTransformer does beside its numbers."""
    settings = ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    modules = [f"{type(module).__module__}.{type(module).__name__}" for module in model]
    return {"modules": modules, **{name: getattr(model, name) for name in settings}}


def embeddings_of(model: Any, texts: list[str], prompts: list[str]) -> torch.Tensor:
    """Of the texts, with the default prompt where there is one; and of the first text with each of ``prompts``."""
    options = {"convert_to_tensor": True, "show_progress_bar": False}
    return torch.cat(
        [model.encode(texts, **options), *(model.encode(texts[:1], prompt_name=name, **options) for name in prompts)]
    )


def check_alone(asked: dict[str, Any], _: Any) -> Said:
    """Nothing of layercut was needed for all this."""
    ours = sorted(ROOMS.intersection(name.partition(".")[0] for name in sys.modules))
    return not ours, f"imported: {', '.join(ours)}" if ours else "stock transformers and no code of layercut"


# The last one is asked last: by then everything that will be imported is.
_CHECKS: tuple[Callable[[dict[str, Any], Any], Said], ...] = (
    check_files, check_hashes, check_loads, check_tensors, check_tokenizer, check_padding, check_layers, check_outputs,
    check_generates, check_pipeline, check_size, check_sentence_transformers, check_alone,
)  # fmt: skip
CHECKS = {check.__name__.removeprefix("check_"): check for check in _CHECKS}
OF_COPIES = {"tensors"}


def _probe(asked: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    tensors = load_file(asked["probe"])
    del tensors["expected_base"]
    return tensors, tensors.pop("expected")


def _loader(folder: str, dtype: torch.dtype) -> Callable[[], tuple[Any, dict[str, Any]]]:
    """Loads once; every check that needs the model fails with the same words where it cannot be."""
    loaded_once: list[tuple[Any, dict[str, Any]]] = []

    def loaded() -> tuple[Any, dict[str, Any]]:
        if not loaded_once:
            loaded_once.append(_load(folder, dtype))
        return loaded_once[0]

    return loaded


def _load(folder: str, dtype: torch.dtype, stock_class: Any = None, **options: Any) -> tuple[Any, dict[str, Any]]:
    stock_class = stock_class or getattr(transformers, _class_name(folder))
    model, info = stock_class.from_pretrained(
        folder, dtype=dtype, output_loading_info=True, use_safetensors=True, **LOCAL, **options
    )
    return model.eval(), info


def _tokenizer(folder: str) -> Any:
    return AutoTokenizer.from_pretrained(folder, **LOCAL)


def _class_name(folder: str) -> str:
    (name,) = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["architectures"]
    return str(name)


def _listed(found: Any) -> str:
    names = sorted(map(str, found))
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def examine(asked: dict[str, Any]) -> dict[str, Any]:
    """Carry out every check."""
    loaded = _loader(asked["folder"], getattr(torch, asked["dtype"]))
    checks = []
    with torch.inference_mode():
        for name, check in CHECKS.items():
            if name in OF_COPIES and not asked["source"]:
                continue
            try:
                passed, detail = check(asked, loaded)
            except Exception as error:  # noqa: BLE001 - whatever it was, the check was not passed, and its words say why
                passed, detail = False, f"{type(error).__name__}: {error}"[:1000]
            checks.append({"name": name, "passed": passed, "detail": detail})
    return {"checks": checks, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}


if __name__ == "__main__":
    json.dump(examine(json.load(sys.stdin)), sys.stdout)
