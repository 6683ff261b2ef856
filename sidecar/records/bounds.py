"""What a record may claim: every count, length and text in it has a limit, and is checked before it is believed.

A record comes from the registry, where anybody with the right to push to the repository can have put it. Limits are far
above what Reducto writes, so that they refuse nothing but what was made to be expensive.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from reducto.values import CorpusId, parse_corpus_id

#: Descriptors that one record may name: four times the blobs of the longest manifest that a client may push.
DESCRIPTORS_LIMIT = 16_384
#: Corpora that all layers of one record may refer to together; the same corpus counts for each of them.
REFERENCES_LIMIT = 16_384
#: Corpora of one layer, and parents of one corpus. An encoder refers to at most 8, their parents included.
CORPORA_LIMIT = 64
#: Hooks of one corpus (docs/formats/records.md), eight bytes each.
HOOKS_LIMIT_BYTES = 8 * 1024
_ENVELOPE_LIMIT_CHARS = 1024
_RECEIPT_LIMIT_CHARS = 64 << 10
#: Lengths are at most 2**63 - 1, as in OCI descriptors. `int` alone would take signs, underscores and other digits.
_LENGTH = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def length_in(text: str) -> int:
    """The length in bytes that a decimal text states. Raises `ValueError`."""
    if _LENGTH.fullmatch(text) is None or int(text) >= 1 << 63:
        raise ValueError(f"{text[:40]!r} is not a length in bytes")
    return int(text)


def descriptors_in(items: Any) -> list[dict[str, Any]]:
    """The list of a manifest's descriptors. Raises `ValueError`."""
    if not isinstance(items, list) or len(items) > DESCRIPTORS_LIMIT:
        raise ValueError(f"a record names at most {DESCRIPTORS_LIMIT} descriptors, in a list")
    return items


def names_in(text: str) -> list[str]:
    """The names in a comma-separated list, none of them twice. Raises `ValueError`."""
    names = [name for name in text.split(",", CORPORA_LIMIT + 1) if name]
    if len(names) > CORPORA_LIMIT:
        raise ValueError(f"more than {CORPORA_LIMIT} corpora are named")
    if len(set(names)) < len(names):
        raise ValueError("a corpus is named twice")
    return names


def corpus_ids_in(text: str) -> tuple[CorpusId, ...]:
    """The identities in a comma-separated list. Raises `ValueError`, `UsageError`."""
    return tuple(parse_corpus_id(name) for name in names_in(text))


def check_references(counts: Sequence[int]) -> None:
    """Raises `ValueError` if the layers of a record, which refer to so many corpora each, refer to too many in all."""
    if sum(counts) > REFERENCES_LIMIT:
        raise ValueError(f"the layers of a record refer to at most {REFERENCES_LIMIT} corpora together")


def hooks_in(text: str) -> bytes:
    """A corpus's hooks, decoded from base64. Raises `ValueError`."""
    if len(text) > 2 * HOOKS_LIMIT_BYTES:
        raise ValueError(f"the hooks of a corpus have at most {HOOKS_LIMIT_BYTES} bytes")
    hooks = base64.b64decode(text, validate=True)
    if len(hooks) > HOOKS_LIMIT_BYTES or len(hooks) % 8:
        raise ValueError(f"{len(hooks)} bytes are no hooks: they have 8 bytes each, {HOOKS_LIMIT_BYTES} at most")
    return hooks


def envelope_in(text: str) -> str:
    """A wrapped key, as text. Raises `ValueError`."""
    if not isinstance(text, str) or len(text) > _ENVELOPE_LIMIT_CHARS:
        raise ValueError(f"an envelope has at most {_ENVELOPE_LIMIT_CHARS} characters")
    return text


def receipt_in(text: str) -> dict[str, Any]:
    """A receipt: a JSON object. Raises `ValueError`, also for one that is nested too deeply to be read."""
    if len(text) > _RECEIPT_LIMIT_CHARS:
        raise ValueError(f"a receipt has at most {_RECEIPT_LIMIT_CHARS} characters")
    try:
        receipt = json.loads(text)
    except RecursionError as error:
        raise ValueError("the receipt is nested too deeply") from error
    if not isinstance(receipt, dict):
        raise ValueError("the receipt is not a JSON object")
    return receipt
