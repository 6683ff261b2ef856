"""The tags under which records lie. Clients never see them and may not use them."""

from __future__ import annotations

from reducto.oci.names import Tag
from reducto.values import Digest

#: What every tag of a record begins with.
RECORD_TAG_PREFIX = "reducto-"


def is_record_tag(tag: Tag) -> bool:
    """Whether the tag belongs to Reducto and is hidden from clients."""
    return tag.name.startswith(RECORD_TAG_PREFIX)


def record_tag(digest: Digest) -> Tag:
    """The hidden tag under which the record of ``digest`` is stored."""
    # A tag has at most 128 characters, so the tag for a sha512 (8 + 7 + 128) is cut. The record has the whole digest.
    return Tag(f"{RECORD_TAG_PREFIX}{digest.algorithm}-{digest.hex}"[:128])
