"""What a ``tokenizer.json`` may make the library do: how deep, how many and how slow its rules are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sources.config_keys import short
from sources.headers import invalid

#: Rules, at any depth; the longest of a known tokenizer has about thirty.
MAX_RULES = 256
MAX_NESTED = 4
#: Of a pattern, and of what stands for what it finds, in characters. GPT-4o's has 400.
LONGEST_PATTERN, LONGEST_CONTENT = 4096, 64
#: Of all patterns of a file together, in characters.
MAX_PATTERNS = 64 * 2**10
MAX_REPEAT = 1000
LONGEST_TOKEN = 4096
MAX_TOKENS = 2**20
#: Tokens that are no part of the vocabulary proper: each is looked for in every text.
MAX_ADDED = 2**16
#: Those that are only listed by name: each is compared with all others.
MAX_LISTED = 4096
#: Of a fixed length that texts are filled up to.
MAX_FIXED = 2**20

STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
INSIDE = ("normalizers", "pretokenizers", "processors", "decoders")


def check_rules(whole: dict[str, Any], name: str) -> None:
    """Raise ``model_invalid`` for rules that would take the library, or each text, longer than any known tokenizer."""
    fault = next(_faults(whole), None)
    if fault is not None:
        raise invalid(f"{name} has {fault}")


def check_counts(name: str, found: dict[str, Any]) -> None:
    """As ``check_rules``, of the tokens that ``tokenizer_config.json`` and its older kin add."""
    for key, most in (
        ("added_tokens_decoder", MAX_ADDED),
        ("extra_special_tokens", MAX_LISTED),
        ("additional_special_tokens", MAX_LISTED),
        ("model_specific_special_tokens", MAX_LISTED),
    ):
        value = found.get(key)
        if isinstance(value, (dict, list)) and len(value) > most:
            raise invalid(f"{name} has {len(value)} {key}; at most {most} are read")
    named = sum(1 for key in found if key.endswith("_token"))
    if named > MAX_LISTED:
        raise invalid(f"{name} has {named} tokens by name; at most {MAX_LISTED} are read")


@dataclass
class _Patterns:
    """The patterns of one file: each is looked at once, however often it stands there."""

    characters: int = 0
    seen: set[str] = field(default_factory=set)

    def fault(self, pattern: str, step: str) -> str | None:
        """What is wrong with ``pattern``, or with all of them so far."""
        self.characters += len(pattern)
        if self.characters > MAX_PATTERNS:
            return f"patterns of more than {MAX_PATTERNS} characters together"
        if pattern in self.seen:
            return None
        self.seen.add(pattern)
        reason = _slow(pattern)
        return None if reason is None else f"a pattern {short(pattern)} in its {step} that {reason}"


def _faults(whole: dict[str, Any]) -> Iterator[str]:
    patterns = _Patterns()
    for step in STEPS:
        if whole.get(step) is not None and not isinstance(whole[step], dict):
            yield f"a {step} that is not an object"
        yield from _of_step(step, whole.get(step), patterns)
    yield from _lengths(whole)
    added = whole.get("added_tokens")
    if isinstance(added, list) and len(added) > MAX_ADDED:
        yield f"{len(added)} added_tokens; at most {MAX_ADDED} are read"
    if isinstance(added, list) and any(_is_long(row.get("content")) for row in added if isinstance(row, dict)):
        yield f"an added token of more than {LONGEST_TOKEN} characters"
    yield from _of_model(whole.get("model"))


def _of_step(step: str, rule: Any, patterns: _Patterns) -> Iterator[str]:
    level, total = [rule], 0
    for _ in range(MAX_NESTED + 1):
        level = [one for one in level if isinstance(one, dict)]
        total += len(level)
        if total > MAX_RULES:
            yield f"more than {MAX_RULES} rules in its {step}"
            return
        for one in level:
            yield from _of_rule(step, one, patterns)
        level = [inner for one in level for key in INSIDE if isinstance(one.get(key), list) for inner in one[key]]
    if level:
        yield f"rules in rules more than {MAX_NESTED} deep in its {step}"


def _of_rule(step: str, rule: dict[str, Any], patterns: _Patterns) -> Iterator[str]:
    pattern = rule.get("pattern")
    if isinstance(pattern, dict):
        pattern = next(iter(pattern.values()), None)
    if isinstance(pattern, str) and (fault := patterns.fault(pattern, step)):
        yield fault
    for key in ("content", "prepend", "replacement", "suffix", "prefix", "behavior"):
        text = rule.get(key)
        if isinstance(text, str) and len(text) > LONGEST_CONTENT:
            yield f"a {key} of {len(text)} characters in its {step}; at most {LONGEST_CONTENT} are read"
    for key in ("single", "pair"):
        if isinstance(rule.get(key), list) and len(rule[key]) > MAX_RULES:
            yield f"a template of {len(rule[key])} pieces in its {step}; at most {MAX_RULES} are read"


def _lengths(whole: dict[str, Any]) -> Iterator[str]:
    padding, truncation = whole.get("padding"), whole.get("truncation")
    for step in (padding, truncation):
        numbers = [step] if not isinstance(step, dict) else [*step.values()]
        for value in numbers:
            row = list(value.values()) if isinstance(value, dict) else [value]
            if any(isinstance(one, int) and abs(one) > MAX_FIXED for one in row):
                yield f"a length for padding or truncation of more than {MAX_FIXED} tokens"


def _of_model(model: Any) -> Iterator[str]:
    if not isinstance(model, dict):
        return
    for key, most in (("vocab", MAX_TOKENS), ("merges", 4 * MAX_TOKENS)):
        found = model.get(key)
        if isinstance(found, (dict, list)) and len(found) > most:
            yield f"{len(found)} entries in its {key}; at most {most} are read"
    vocabulary = model.get("vocab")
    tokens = (
        vocabulary
        if isinstance(vocabulary, dict)
        else [row[0] for row in vocabulary if isinstance(row, list) and row]
        if isinstance(vocabulary, list)
        else []
    )
    if any(map(_is_long, tokens)):
        yield f"a token of more than {LONGEST_TOKEN} characters in its vocabulary"


def _is_long(token: Any) -> bool:
    return isinstance(token, str) and len(token) > LONGEST_TOKEN


def _slow(pattern: str) -> str | None:
    """Why the pattern may take time that grows faster than the text; None where it does not.

    A repeated group that holds a repetition or a choice can be matched in exponentially many ways.
    """
    if len(pattern) > LONGEST_PATTERN:
        return f"has {len(pattern)} characters; at most {LONGEST_PATTERN} are read"
    plain = _ESCAPED.sub("x", pattern)
    if _COMMENT.search(plain):
        return "has a comment, in which brackets mean nothing: leave it out"
    bare = _without_classes(plain)
    if any(len(number) > 8 or int(number) > MAX_REPEAT for pair in _COUNTED.findall(bare) for number in pair if number):
        return f"repeats more than {MAX_REPEAT} times"
    if _repeats_repetition(bare):
        return "repeats a group which itself repeats or chooses: that may take exponential time"
    return None


def _repeats_repetition(bare: str) -> bool:
    """Of a pattern without classes and escapes."""
    groups: list[bool] = [False]  # whether each that is open repeats or chooses inside
    for at, mark in enumerate(bare):
        if mark == "(":
            groups.append(False)
        elif mark == ")" and len(groups) > 1:
            inner, again = groups.pop(), _UNBOUNDED.match(bare, at + 1) is not None
            if inner and again:
                return True
            groups[-1] = groups[-1] or inner or again
        elif mark == "|" or _UNBOUNDED.match(bare, at):
            groups[-1] = True
    return False


def _without_classes(pattern: str) -> str:
    """``pattern``, which has no escapes, with an x for each class; from one that has no end on, as it is."""
    kept, depth, opened, at = list[str](), 0, 0, 0
    while at < len(pattern):
        mark = pattern[at]
        if mark == "[":
            opened, depth = opened if depth else at, depth + 1
            at += 2 if pattern.startswith("^", at + 1) else 1
            at += pattern.startswith("]", at)  # the first is one of the class
            continue
        if depth == 0:
            kept.append(mark)
        elif mark == "]":
            depth -= 1
            kept += [] if depth else ["x"]
        at += 1
    return "".join(kept) + (pattern[opened:] if depth else "")


# Each can match a text in one way alone, so that none is tried twice: strangers write what these meet.
_ESCAPED = re.compile(r"\\(?:[pPkx]\{[^}]{0,64}\}|.)", re.DOTALL)
_COMMENT = re.compile(r"\(\?(?:#|[a-z-]{0,8}x)")
_COUNTED = re.compile(r"\{([0-9]*)(?:,([0-9]*))?\}")
_UNBOUNDED = re.compile(r"[*+]|\{[0-9]*,(?:[0-9]{2,})?\}|\{[0-9]{2,}\}")
