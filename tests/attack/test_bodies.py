"""Bodies that are no JSON, or too much of it, and requests that name what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.attack_target import Expected, Target

pytestmark = pytest.mark.attack

MALFORMED = Expected((400,), ("malformed_request",))
WRONG = Expected((422,))
EITHER = Expected((400, 422))
HUGE = Expected((413,), ("payload_too_large",))

TEXTS: dict[str, tuple[bytes, Expected]] = {
    "NaN": (b'{"model": "a/b", "task": "none", "seed": NaN}', MALFORMED),
    "Infinity": (b'{"model": "a/b", "task": "none", "seed": -Infinity}', MALFORMED),
    "a number beyond a double": (b'{"model": "a/b", "task": "none", "seed": 1e999}', MALFORMED),
    "a number of 5000 digits": (b'{"model": "a/b", "task": "none", "seed": ' + b"9" * 5000 + b"}", MALFORMED),
    "half a surrogate pair": (b'{"model": "\\ud800", "task": "none"}', MALFORMED),
    "half a pair as a key": (b'{"model": "a/b", "task": "none", "metadata": {"\\udfff": "x"}}', MALFORMED),
    "NUL": (b'{"model": "a/b\\u0000", "task": "none"}', MALFORMED),
    "NUL as it is": (b'{"model": "a/b\0", "task": "none"}', MALFORMED),
    "NUL in metadata": (b'{"model": "a/b", "task": "none", "metadata": {"a\\u0000": "x"}}', MALFORMED),
    "no UTF-8": (b'{"model": "\xff\xfe", "task": "none"}', MALFORMED),
    "UTF-16": ('{"model": "a/b", "task": "none"}'.encode("utf-16"), MALFORMED),
    "UTF-7": (b"+AHsAIgBtAG8AZABlAGwAIgA6-", MALFORMED),
    "lists, nested 10^6 deep": (b"[" * 1_000_000, HUGE),
    "lists, nested 5000 deep": (b"[" * 5_000, MALFORMED),
    "objects, nested 10^5 deep": (b'{"model":' * 100_000, HUGE),
    "a field, nested 10^5 deep": (b'{"model": "a/b", "task": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", HUGE),
    "metadata, nested 900 deep": (
        b'{"model":"a/b","task":"none","metadata":' + b'{"a":' * 900 + b"1" + b"}" * 901,
        MALFORMED,
    ),
    "a key twice": (b'{"model": "a/b", "model": 5, "task": "none"}', EITHER),
    "a comma at the end": (b'{"model": "a/b", "task": "none",}', MALFORMED),
    "a comment": (b'{"model": "a/b" /* x */, "task": "none"}', MALFORMED),
    "two objects": (b'{"model": "a/b", "task": "none"}{"model": "a/b"}', MALFORMED),
    "nothing": (b"", MALFORMED),
    "blanks": (b" " * 100_000, MALFORMED),
    "a list": (b"[]", MALFORMED),
    "null": (b"null", MALFORMED),
    "a text": (b'"x"', MALFORMED),
    "no object at all": (b"{}", WRONG),
    "2 MB": (b'{"model": "' + b"a" * 2_000_000 + b'"}', HUGE),
    "10^5 unknown fields": (b'{"model":"a/b",' + b",".join(b'"f%d":1' % n for n in range(70_000)) + b"}", HUGE),
    "5900 unknown fields": (b'{"model":"a/b",' + b",".join(b'"f%d":1' % n for n in range(5_900)) + b"}", WRONG),
    "10^5 fields that are nearly known": (
        b'{"model":"a/b",' + b",".join(b'"mod%d":1' % n for n in range(60_000)) + b"}",
        HUGE,
    ),
    "a text of 1 MB": (b'{"model": "' + b"a" * 1_000_000 + b'", "task": "none"}', WRONG),
    "a key of 1 MB": (b'{"' + b"k" * 1_000_000 + b'": 1}', WRONG),
    "a list of 10^5": (b'{"model":"a/b","task":"none","evaluation":{"seeds":[' + b"1," * 100_000 + b"1]}}", HUGE),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/plans"])
def test_what_is_no_request_is_refused(site: Target, name: str, path: str) -> None:
    body, expected = TEXTS[name]
    answer = site.ask("POST", path, body, {"Content-Type": "application/json"})
    # The connection may end before all of a large body was sent.
    site.check(
        f"POST {path}: {name}", answer, Expected(expected.statuses, expected.codes, also=(0,) * (len(body) > 10**6))
    )


FIELDS: dict[str, dict[str, Any]] = {
    "a seed beyond 64 bits": {"seed": 2**70},
    "a seed below zero": {"seed": -1},
    "a seed that is a text": {"seed": "1; DROP TABLE jobs"},
    "a seed that is a float": {"seed": 1.5},
    "a priority beyond all": {"priority": 10**9},
    "a model that is a number": {"model": 5},
    "a model that is a list": {"model": ["a/b"]},
    "a model that is nothing": {"model": ""},
    "an address of the cloud": {"model": "http://169.254.169.254/latest/meta-data/"},
    "an address of ours": {"model": "http://127.0.0.1:8000/v1/jobs"},
    "a file by URL": {"model": "file:///etc/passwd"},
    "another store": {"model": "s3://bucket/model"},
    "a share": {"model": "\\\\host\\share"},
    "a hub id that climbs": {"model": "a/../../b"},
    "a hub id of dots": {"model": "../b"},
    "a hub id with a query": {"model": "a/b?x=1"},
    "a hub id with a line break": {"model": "a/b\r\nX: y"},
    "a home": {"model": "~root/model"},
    "a revision that climbs": {"model": {"id": "a/b", "revision": "../../x"}},
    "a revision with a query": {"model": {"id": "a/b", "revision": "main?x"}},
    "a revision that is an option": {"model": {"id": "a/b", "revision": "--upload-pack=x"}},
    "code to trust": {"model": {"id": "a/b", "trust_remote_code": True}},
    "a token to use": {"model": {"id": "a/b", "token": "hf_x"}},
    "a folder of the system": {"model": "/etc"},
    "a folder of the kernel": {"model": "/proc/self"},
    "a descriptor": {"model": "/proc/self/fd/3"},
    "the root": {"model": "/"},
    "a path with dots": {"model": "%(models)s/../../outside/model"},
    "a path beside the root": {"model": "%(outside)s/model"},
    "a path that begins as the root does": {"model": "%(models)s-evil"},
    "the root of models": {"model": "%(models)s"},
    "a file as the folder": {"model": "%(models)s/honest/config.json"},
    "a path of 400": {"model": "%(models)s/" + "a" * 300},
    "a path that goes on after a file": {"model": "%(models)s/honest/config.json/x"},
    "a data file of the system": {"task": {"dataset": "/etc/passwd"}},
    "an environment as data": {"task": {"dataset": "/proc/self/environ"}},
    "zeros without end": {"task": {"dataset": "/dev/zero"}},
    "the standard input": {"task": {"dataset": "/dev/stdin"}},
    "data by URL": {"task": {"dataset": "https://evil.example/a.csv"}},
    "data in a store": {"task": {"dataset": "s3://bucket/a.csv"}},
    "a glob as data": {"task": {"dataset": "%(tables)s/*.csv"}},
    "a glob of everything": {"task": {"dataset": "%(tables)s/**"}},
    "braces as data": {"task": {"dataset": "%(tables)s/{honest,other}.csv"}},
    "SQL as data": {"task": {"dataset": "%(tables)s/x.csv'); COPY (SELECT 1) TO '/tmp/x"}},
    "data beside the root": {"task": {"dataset": "%(outside)s/secret.csv"}},
    "data with dots": {"task": {"dataset": "%(tables)s/../../outside/secret.csv"}},
    "an artifact's name that climbs": {"suffix": "../../x"},
    "an artifact's name with a slash": {"suffix": "a/b"},
    "metadata of 17": {"metadata": {f"k{number}": "v" for number in range(17)}},
    "metadata that is long": {"metadata": {"k": "v" * 513}},
    "metadata that is a list": {"metadata": ["a"]},
    "latency of 1024 x 8192": {"evaluation": {"latency": {"batch_sizes": [1024], "sequence_lengths": [8192]}}},
    "latency of 64 cells": {
        "evaluation": {"latency": {"batch_sizes": list(range(1017, 1025)), "sequence_lengths": list(range(8185, 8193))}}
    },
    "latency of 0": {"evaluation": {"latency": {"batch_sizes": [0]}}},
    "11 seeds": {"evaluation": {"seeds": list(range(11))}},
    "a seed twice": {"evaluation": {"seeds": [1, 1]}},
    "10^9 epochs": {"task": "sst2", "recovery": {"epochs": 10**9}},
    "layers beyond all": {"prune": {"strategy": "explicit", "drop_layers": [10**18]}},
    "layers of 5900": {"prune": {"strategy": "explicit", "drop_layers": list(range(5_900))}},
    "layers below zero": {"prune": {"strategy": "explicit", "drop_layers": [-(2**70)]}},
    "a count beyond 64 bits": {"prune": {"drop": 2**70}},
    "a strategy that is code": {"prune": {"strategy": "__import__('os').system('id')"}},
    "a format string": {"prune": {"strategy": "{0.__class__.__mro__}"}},
    "a template": {"prune": {"strategy": "{{7*7}}"}},
    "a task that is a path": {"task": "../../etc/passwd"},
    "a runtime of years": {"limits": {"max_runtime_seconds": 10**12}},
    "a webhook": {"webhook": "http://169.254.169.254/"},
    "another's row": {"id": "job_0", "tenant": "other", "owner": "other"},
    "a dtype that is code": {"export": {"dtype": "torch.load"}},
}  # fmt: skip


def placed(value: Any, site: Target) -> Any:
    """``value`` with the site's folders in place of their names."""
    text = json.dumps(value)
    for name in ("models", "tables", "outside"):
        text = text.replace(f"%({name})s", str(getattr(site, name)))
    return json.loads(text)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_names_what_it_may_not_is_refused(site: Target, name: str) -> None:
    body = {"model": str(site.models / "honest"), "task": "none", **placed(FIELDS[name], site)}
    if isinstance(body["task"], dict):
        body["task"] |= {"text_columns": ["text"], "label_column": "label"}
    answer = site.post(body)
    site.check(f"field: {name}", answer, WRONG, body)
    if name.startswith(("a path", "a folder", "data", "a data file", "an environment")):
        assert "No such file" not in answer.text, answer


COLUMNS = ('text"; COPY x TO \'/tmp/x\'; --', "text' OR 1=1", "a" * 5000, "\u202etxet", "*", "read_text('/etc/passwd')",
           "COLUMNS(*)", "text\n", "$1", "?")  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("field", ["text_columns", "label_column"])
def test_the_name_of_a_column_is_no_sql(site: Target, column: str, field: str) -> None:
    task = {"dataset": str(site.tables / "honest.csv"), "text_columns": ["text"], "label_column": "label"}
    task |= {field: [column] if field == "text_columns" else column}  # type: ignore[dict-item]
    body = {"model": str(site.models / "honest"), "task": task}
    site.check(f"{field} {column[:60]!r}", site.post(body), WRONG, body)


READS: dict[str, dict[str, Any]] = {
    "an encoding that is a path": {"encoding": "../../x"},
    "an encoding that unpacks": {"encoding": "zlib_codec"},
    "an encoding that runs": {"encoding": "undefined"},
    "a delimiter of SQL": {"delimiter": "','"},
    "a delimiter that is a line end": {"delimiter": "\n"},
    "a quote of two": {"quote": "''"},
    "an option of DuckDB's": {"filename": True},
}


@pytest.mark.parametrize("name", READS)
def test_how_a_file_is_read_is_no_sql(site: Target, name: str) -> None:
    task = {"dataset": str(site.tables / "honest.csv"), "text_columns": ["text"], "label_column": "label"}
    body = {"model": str(site.models / "honest"), "task": {**task, "read": READS[name]}}
    site.check(f"read: {name}", site.post(body), WRONG, body)
