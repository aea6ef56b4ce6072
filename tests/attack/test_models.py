"""Models that name files, lead out of their folder, are no files, or blow up: each is refused when it is posted."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.support.attack_target import Expected, Target, honest_model
from tests.support.hostile_models import (
    Do,
    both,
    config_only,
    crowd,
    deep_rules,
    directory,
    fifo,
    header,
    holds,
    link,
    nested,
    outside,
    said,
    sparse,
    splits,
    tensor,
    tokenizer,
    unix_socket,
)

pytestmark = pytest.mark.attack

CODES = ("model_invalid", "model_not_allowed", "unsupported_architecture", "model_not_found")
REFUSED = Expected((422,), CODES)
#: What is not read, or never reaches a loader, may as well be let be.
HARMLESS = Expected((202, 422), CODES)
TOKENIZER, CONFIG, GENERATION = "tokenizer_config.json", "config.json", "generation_config.json"

NAMING: dict[str, Do] = {
    "vocab is a file": said(TOKENIZER, vocab="/etc/passwd"),
    "vocab is an environment": said(TOKENIZER, vocab="/proc/self/environ"),
    "vocab is our secret": outside(TOKENIZER, "vocab", "secret.txt"),
    "vocab, and tokens that please the check": said(
        TOKENIZER, vocab="/etc/passwd", added_tokens_decoder={str(n): {"content": f"<{n}>"} for n in range(3)}
    ),
    "merges is a file": said(TOKENIZER, merges="/etc/passwd"),
    "vocab_file is a file": said(TOKENIZER, vocab_file="/etc/passwd"),
    "vocab_file climbs": said(TOKENIZER, vocab_file="../../../outside/secret.txt"),
    "vocab_file has NUL": said(TOKENIZER, vocab_file="vocab.txt\0.json"),
    "vocab_file is an address": said(TOKENIZER, vocab_file="http://169.254.169.254/"),
    "merges_file is ours": outside(TOKENIZER, "merges_file", "secret.txt"),
    "spm_file is ours": outside(TOKENIZER, "spm_file", "secret.txt"),
    "source_spm is ours": outside(TOKENIZER, "source_spm", "secret.txt"),
    "added_tokens_file is ours": outside(TOKENIZER, "added_tokens_file", "secret.json"),
    "arguments for the class": said(TOKENIZER, init_inputs=["/etc/passwd"]),
    "files of versions": said(TOKENIZER, fast_tokenizer_files=["../../tokenizer.1.0.0.json"]),
    "a tokenizer of another format": said(TOKENIZER, gguf_file="x.gguf"),
    "arguments for sentencepiece": said(TOKENIZER, sp_model_kwargs={"model_file": "/etc/passwd"}),
    "an object in the tokenizer": said(TOKENIZER, tokenizer_object={"a": "/etc/passwd"}),
    "a tokenizer's code": said(TOKENIZER, auto_map={"AutoTokenizer": ["evil.Evil", None]}),
    "a tokenizer's code of another": said(TOKENIZER, auto_map={"AutoTokenizer": "evil/repo--evil.Evil"}),
    "a class that is a path": said(TOKENIZER, tokenizer_class="../../evil"),
    "special tokens in a file": said("special_tokens_map.json", vocab_file="/etc/passwd"),
    "a config's code": said(CONFIG, auto_map={"AutoModel": "evil.Evil"}),
    "a config's code of another": said(CONFIG, auto_map={"AutoConfig": "evil/repo--evil.Evil"}),
    "weights that are a pickle": both(
        said(CONFIG, transformers_weights="adapter_model.bin"), holds("adapter_model.bin", b"\x80\x04cos\nsystem\n.")
    ),
    "weights a folder down": said(CONFIG, transformers_weights="sub/w.safetensors"),
    "weights that climb": said(CONFIG, transformers_weights="../honest/model.safetensors"),
    "weights of ours": outside(CONFIG, "transformers_weights", "model/model.safetensors"),
    "another class's pickle": said(CONFIG, _commit_hash="x", weights_file="pytorch_model.bin"),
    "a model of another format": said(CONFIG, gguf_file="../x.gguf"),
    "a type that is a path": said(CONFIG, model_type="../../evil"),
    "a type that is a number": said(CONFIG, model_type=5),
    "classes that are a number": said(CONFIG, architectures=5),
    "classes that are a text": said(CONFIG, architectures="BertModel"),
    "classes within a list": said(CONFIG, architectures=[["BertModel"]]),
    "a class of 1 MB": said(CONFIG, architectures=["x" * 10**6]),
    "a dtype that is code": said(CONFIG, torch_dtype="load"),
    "a file that nobody knows": said(CONFIG, anything_file="/etc/passwd"),
    "code to generate with": said(GENERATION, custom_generate="evil/repo", auto_map={"x": "y"}),
    "a generation's file": said(GENERATION, some_file="/etc/passwd"),
    "a processor's file": said("preprocessor_config.json", vocab_file="/etc/passwd"),
    "a processor's code": said("processor_config.json", auto_map={"AutoProcessor": "evil.Evil"}),
    "only a pickle": both(
        lambda folder, _: (folder / "model.safetensors").unlink(), holds("pytorch_model.bin", b"\x80.")
    ),
    "an index that climbs": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        holds("model.safetensors.index.json", json.dumps({"weight_map": {"a": "../honest/model.safetensors"}})),
    ),
    "an index of a path": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        holds("model.safetensors.index.json", json.dumps({"weight_map": {"a": "/etc/passwd"}})),
    ),
    "an index of a pickle": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        holds("model.safetensors.index.json", json.dumps({"weight_map": {"a": "pytorch_model.bin"}})),
    ),
    "modules of any class": holds(
        "modules.json", json.dumps([{"idx": 0, "name": "0", "path": "", "type": "os.system"}])
    ),
    "modules elsewhere": holds(
        "modules.json",
        json.dumps([{"idx": 0, "name": "0", "path": "../honest", "type": "sentence_transformers.models.Transformer"}]),
    ),
    "arguments for modules": both(
        holds(
            "modules.json",
            json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]),
        ),
        holds("sentence_bert_config.json", json.dumps({"model_args": {"trust_remote_code": True}})),
    ),
}

READ = ("config.json", "model.safetensors", "vocab.txt", TOKENIZER, GENERATION, "tokenizer.json", "README.md")
TARGETS = {
    "out to text": "outside/secret.txt",
    "out to JSON": "outside/secret.json",
    "out, relative": "../../../outside/secret.txt",
    "to zeros": "/dev/zero",
    "to the standard input": "/dev/stdin",
    "to an environment": "/proc/self/environ",
    "to a descriptor": "/proc/self/fd/0",
}
LINKS: dict[str, Do] = {f"{name} {how}": link(name, to) for name in READ for how, to in TARGETS.items()}
LINKS |= {
    "weights out": link("model.safetensors", "outside/model/model.safetensors"),
    "a folder out": link("1_Pooling", "outside/model"),
    "a loop": both(link("config.json", "b"), link("b", "config.json")),
    "a link to itself": link("config.json", "config.json"),
    "nowhere": link("config.json", "nothing"),
    "nowhere, for the weights": link("model.safetensors", "nothing"),
    "a chain of 50": both(
        *(link(f"l{n}", f"l{n + 1}") for n in range(50)), link("config.json", "l0"), holds("l50", config_only())
    ),
    "through a folder that leads out": both(link("d", "outside/model"), link("vocab.txt", "d/vocab.txt")),
    "shards out": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        link("model-00001-of-00001.safetensors", "outside/model/model.safetensors"),
        holds(
            "model.safetensors.index.json",
            json.dumps({"weight_map": {"embeddings.word_embeddings.weight": "model-00001-of-00001.safetensors"}}),
        ),
    ),
}
#: Not read by every stock class: it is enough that nothing of it comes out.
DEEP: dict[str, Do] = {
    "a chat template out": link("additional_chat_templates/x.jinja", "outside/secret.txt"),
    "a chat template, first": link("chat_template.jinja", "outside/secret.txt"),
    "a folder of templates out": link("additional_chat_templates", "outside"),
    "a license out": link("LICENSE", "outside/secret.txt"),
    "a pooling out": link("1_Pooling/config.json", "outside/secret.json"),
    "weights of no name": link("zzz.safetensors", "outside/model/model.safetensors"),
}

SPECIALS: dict[str, Do] = {
    f"{kind.__name__} {name}": kind(name)
    for kind, name in itertools.product((fifo, unix_socket, directory), (*READ[:4], "tokenizer.json", "vocab.json"))
}
ASIDE: dict[str, Do] = {
    f"{kind.__name__} {name}": kind(name)
    for kind, name in itertools.product((fifo, unix_socket, directory), ("zzz.safetensors", "README.md", "LICENSE"))
} | {
    # Neither read nor staged: stock loaders would take it from a folder that has it.
    "an adapter of ours": outside("adapter_config.json", "base_model_name_or_path", "model"),
    "an adapter": said("adapter_config.json", peft_type="LORA", base_model_name_or_path="evil/repo"),
}

WEIGHT = "embeddings.word_embeddings.weight"
BOMBS: dict[str, Do] = {
    "10^9 labels": said(CONFIG, num_labels=10**9),
    "labels below zero": said(CONFIG, num_labels=-1),
    "labels that are a text": said(CONFIG, num_labels="5"),
    "10^5 labels by name": said(CONFIG, id2label={str(n): f"L{n}" for n in range(100_000)}),
    "10^9 in the middle": said(CONFIG, intermediate_size=10**9),
    "10^9 words": said(CONFIG, vocab_size=10**9),
    "10^9 wide": said(CONFIG, hidden_size=10**9),
    "a width of 0": said(CONFIG, hidden_size=0),
    "a width of true": said(CONFIG, hidden_size=True),
    "10^9 layers": said(CONFIG, num_hidden_layers=10**9),
    "layers of 5000 digits": holds(CONFIG, config_only().replace(b'layers": 3', b'layers": ' + b"9" * 5000)),
    "10^9 heads": said(CONFIG, num_attention_heads=10**9),
    "10^9 types": said(CONFIG, type_vocab_size=10**9),
    "10^10 positions": said(CONFIG, max_position_embeddings=10**10),
    "a config 10^5 deep": holds(CONFIG, nested(100_000)),
    "a config 900 deep": holds(CONFIG, config_only()[:-1] + b', "x": ' + nested(900) + b"}"),
    "a config that is a list": holds(CONFIG, b"[]"),
    "a config that is none": holds(CONFIG, b"not JSON"),
    "a config of nothing": holds(CONFIG, b""),
    "a config of NULs": holds(CONFIG, bytes(1000)),
    "a config of NaN": holds(CONFIG, config_only()[:-1] + b', "x": NaN, "hidden_size": NaN}'),
    "a config of 20 MB": holds(CONFIG, config_only() + b" " * 20_000_000),
    "a config of 1 TB": sparse(CONFIG, 10**12),
    "a tokenizer's config 10^5 deep": holds(TOKENIZER, nested(100_000)),
    "a tokenizer's config that is a list": holds(TOKENIZER, b"[]"),
    "normalizers 10^5 deep": holds("tokenizer.json", deep_rules(100_000, "normalizer", "normalizers")),
    "splits 10^5 deep": holds("tokenizer.json", deep_rules(100_000, "pre_tokenizer", "pretokenizers")),
    "splits 200 deep": holds("tokenizer.json", deep_rules(200, "pre_tokenizer", "pretokenizers")),
    "decoders 10^5 deep": holds("tokenizer.json", deep_rules(100_000, "decoder", "decoders")),
    "250 patterns of braces": holds("tokenizer.json", splits(*(f"{n:03}{{{'1' * 4090}" for n in range(250)))),
    "15 patterns of braces": holds("tokenizer.json", splits(*(f"{n:03}{{{'1' * 4090}" for n in range(15)), "(a+)+$")),
    "a pattern in a comment": holds("tokenizer.json", splits("(?#[)(a+)+(?#])$")),
    "200 000 added tokens": holds(
        "tokenizer.json",
        tokenizer(added_tokens=[{"id": 3 + n, "content": f"<{n}>", "special": True} for n in range(200_000)]),
    ),
    "200 000 named tokens": said(
        TOKENIZER, added_tokens_decoder={str(n): {"content": f"<{n}>"} for n in range(200_000)}
    ),
    "200 000 tokens in an older file": holds("added_tokens.json", json.dumps({f"<{n}>": n for n in range(200_000)})),
    "a list of 200 000 more": said(TOKENIZER, additional_special_tokens=[f"<{n}>" for n in range(200_000)]),
    "an id of 10^18": holds("tokenizer.json", tokenizer(model={"type": "WordPiece", "vocab": {"a": 10**18}})),
    "295 000 tensors": header({f"t{n}": tensor([0], 0, 0) for n in range(295_000)}),
    "a header of 2^63": header({}, claims=2**63),
    "a header of -1": header({}, claims=2**64 - 1),
    "a header longer than the file": header({}, claims=10_000),
    "a header shorter than it is": header({WEIGHT: tensor([11, 8], 0, 352)}, claims=10, data=352),
    "no header": holds("model.safetensors", b""),
    "seven bytes": holds("model.safetensors", b"\0" * 7),
    "spans that overlap": header({"a": tensor([4], 0, 16), "b": tensor([4], 0, 16)}, data=16),
    "a span that ends before it begins": header({"a": tensor([4], 16, 0)}, data=16),
    "a span beyond the file": header({WEIGHT: tensor([11, 8], 0, 352)}, data=16),
    "a span below zero": header({"a": tensor([4], -16, 0)}, data=16),
    "a shape that is no product": header({WEIGHT: tensor([2**40, 2**40], 0, 16)}, data=16),
    "a shape below zero": header({WEIGHT: tensor([-1, -8], 0, 32)}, data=32),
    "a shape of 10^5": header({WEIGHT: tensor([1] * 100_000, 0, 4)}, data=4),
    "a type that is none": header({"a": tensor([4], 0, 16, "OS.SYSTEM")}, data=16),
    "a header that is a list": header(b"[]"),
    "a header 10^5 deep": header(nested(100_000)),
    "a header that is no UTF-8": header(b'{"\xff\xfe": {}}'),
    "a row that is a number": header({"a": 5}),
    "offsets of three": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, data=4),
    "weights of 1 TB": sparse("model.safetensors", 10**12),
    "merges of 1 TB": sparse("merges.txt", 10**12),
    "a scalar head": both(
        said(CONFIG, architectures=["BertForSequenceClassification"]),
        header({"classifier.weight": tensor([], 0, 4), "classifier.bias": tensor([], 4, 8)}, data=8),
    ),
    "a tensor of 1 MB of name": header({"x" * 10**6: tensor([1], 0, 4)}, data=4),
    "an index of 10^5 shards": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        holds(
            "model.safetensors.index.json",
            json.dumps({"weight_map": {f"t{n}": f"model-{n:05}-of-99999.safetensors" for n in range(100_000)}}),
        ),
    ),
    "an index of numbers": both(
        lambda folder, _: (folder / "model.safetensors").unlink(),
        holds("model.safetensors.index.json", json.dumps({"weight_map": {"a": 5}})),
    ),
    "10^5 modules": holds(
        "modules.json",
        json.dumps([{"idx": 0, "name": "x", "path": "", "type": "sentence_transformers.models.Normalize"}] * 100_000),
    ),
    "modules 10^5 deep": holds("modules.json", nested(100_000)),
}  # fmt: skip
HUGE_ROWS = {WEIGHT: tensor([2**40], 0, 2**42)}
HUGE: dict[str, Do] = {
    "weights of 4 TB by their header, too": both(
        header(HUGE_ROWS), sparse("model.safetensors", 8 + len(json.dumps(HUGE_ROWS)) + 2**42)
    ),
}
ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(12))
CARDS: dict[str, Do] = {
    "16 MB of front matter": holds("README.md", "---\n" + "a: [b, c]\n" * 1_500_000 + "license: mit\n---\n"),
    "aliases of aliases": holds("README.md", f"---\n{ALIASES}license: mit\n---\n"),
    "lists 10^5 deep": holds("README.md", "---\nx: " + "[" * 100_000 + "\n---\n"),
    "an object of Python": holds("README.md", "---\nlicense: !!python/object/apply:os.system ['id']\n---\n"),
    "a card of 1 TB": sparse("README.md", 10**12),
    "a card without an end": holds("README.md", "---\n" * 500_000),
    "a license of 1 MB": holds("README.md", "---\nlicense: " + "a" * 10**6 + "\n---\n"),
    "a shard of 1 TB that no index lists": sparse("model-00001-of-99999.safetensors", 10**12),
    "a vocabulary of 1 TB": both(sparse("vocab.txt", 10**12)),
    "20 000 entries": crowd(20_000),
    "a generation's config 10^5 deep": holds(GENERATION, nested(100_000)),
}

TABLES = [
    (NAMING, REFUSED), (LINKS, REFUSED), (DEEP, HARMLESS), (SPECIALS, REFUSED), (ASIDE, HARMLESS), (BOMBS, REFUSED),
    (CARDS, HARMLESS), (HUGE, Expected((422,), ("ceiling_passed",))),
]  # fmt: skip
ROWS = [(name, do, expected) for table, expected in TABLES for name, do in table.items()]
_numbers = itertools.count()


def posted(site: Target, name: str, do: Do, expected: Expected, path: str) -> None:
    folder = honest_model(site.models / f"evil-{next(_numbers)}")
    do(folder, site)
    body = {"model": str(folder), "prune": {"strategy": "top", "drop": 1}}
    answer = site.post({**body, "task": "none"} if path == "/v1/jobs" else body, path)
    statuses = {200 if path == "/v1/plans" and status == 202 else status for status in expected.statuses}
    site.check(f"POST {path}: {name}", answer, Expected(statuses, expected.codes), [body, "/proc/self/environ"])


@pytest.mark.parametrize(("name", "do", "expected"), ROWS, ids=[name for name, *_ in ROWS])
def test_a_model_that_attacks_is_refused_when_it_is_posted(site: Target, name: str, do: Do, expected: Expected) -> None:
    posted(site, name, do, expected, "/v1/jobs")


@pytest.mark.parametrize(("name", "do"), list(NAMING.items())[:3], ids=list(NAMING)[:3])
def test_a_plan_looks_as_hard_as_a_job(site: Target, name: str, do: Do) -> None:
    posted(site, name, do, REFUSED, "/v1/plans")


def test_forty_five_fifos_stop_nothing(site: Target) -> None:
    """Each was hashed without a look, and took a thread of the gateway with it for ever."""
    for _ in range(45):
        posted(site, "a FIFO of weights", fifo("zzz.safetensors"), HARMLESS, "/v1/jobs")
