"""Encodes blobs as instructions over corpora, and rebuilds them. Knows no network and no event loop."""

from reducto.codec.blob_decoder import BlobDecoder
from reducto.codec.blob_encoder import BlobEncoder
from reducto.codec.encode_options import CORPORA_LIMIT, EncodeOptions
from reducto.codec.instructions import BlobMeta, Instructions
from reducto.codec.receipt import Receipt
from reducto.codec.reduced import Reduced
from reducto.codec.references import FixedSelector, ReferenceCorpus, ReferenceSelector, hooks_of
from reducto.codec.unpacked import ReadableCorpus, UnpackedCorpus

__all__ = [
    "CORPORA_LIMIT",
    "BlobDecoder",
    "BlobEncoder",
    "BlobMeta",
    "EncodeOptions",
    "FixedSelector",
    "Instructions",
    "ReadableCorpus",
    "Receipt",
    "Reduced",
    "ReferenceCorpus",
    "ReferenceSelector",
    "UnpackedCorpus",
    "hooks_of",
]
