"""Encodes blobs as instructions over corpora, and rebuilds them. Knows no network and no event loop."""

from reducto.codec.decode import Decoder
from reducto.codec.encode import Encoder
from reducto.codec.instructions import Instructions, Meta
from reducto.codec.options import CORPORA_LIMIT, EncodeOptions
from reducto.codec.receipt import Receipt
from reducto.codec.reduced import Reduced
from reducto.codec.references import FixedReferences, Reference, References, hooks_of
from reducto.codec.unpack import Source, Unpacked

__all__ = [
    "CORPORA_LIMIT",
    "Decoder",
    "EncodeOptions",
    "Encoder",
    "FixedReferences",
    "Instructions",
    "Meta",
    "Receipt",
    "Reduced",
    "Reference",
    "References",
    "Source",
    "Unpacked",
    "hooks_of",
]
