"""The recipe of a gzip blob: what turns its plain bytes back into the wire bytes.

Serialised (numbers LEB128): kind 1, flags (1: the body is a zstd frame), then the body::

    version 1, wire length, plain length
    headers: count, each length and bytes          models: count, each id and member parameter
    members: count, each header index, trailer (0: computed, 1: 8 bytes follow), segment count, segments
    segment: plain length, wire bits, model index, corrections' length, corrections, shared byte if it begins inside one
    trailing: length and bytes

A segment that begins inside a wire byte keeps that byte's earlier bits, so that a range can begin there without the
segment before. docs/formats/recipe.md explains the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import zstandard

from reducto import bounded
from reducto.container import PlainReader
from reducto.errors import Corrupt
from reducto.gzip.donor import FindDonor
from reducto.gzip.encoder_choice import EncoderChoice
from reducto.gzip.gzip_layout import DeflateSegment, GzipLayout, GzipMember
from reducto.gzip.rebuilding import rebuild
from reducto.kernel import gzip as kernel
from reducto.values import ByteRange
from reducto.varint import NumberReader, put_numbers
from reducto.workers import Submit

KIND = 1
VERSION = 1
_ZSTD = 1
_BODY_LIMIT_BYTES = 64 << 20
_SEGMENT_LIMIT_BYTES = 64 << 20
#: Members and segments of one blob. It bounds the memory that reading a recipe takes.
PARTS_LIMIT = 1 << 20


class GzipRecipe(GzipLayout):
    """A proved recipe. It is made only by `GzipReader.finish` and `from_bytes`."""

    def __init__(
        self,
        wire_length: int,
        plain_length: int,
        choices: Sequence[EncoderChoice],
        members: Sequence[GzipMember],
        trailing: bytes,
        correction_count: int | None = None,
    ) -> None:
        super().__init__(wire_length, plain_length, tuple(choices), members, trailing)
        self.correction_count = correction_count
        """How often the models were wrong; None for a recipe that was read from bytes."""
        self.encoder = self._main_encoder()

    def _main_encoder(self) -> str:
        counts = [0] * len(self.choices)
        for member in self.members:
            for segment in member.segments:
                counts[segment.choice] += 1
        return self.choices[counts.index(max(counts))].model.name if counts else "gzip"

    def to_bytes(self) -> bytes:
        """The serialised form that `from_bytes` reads."""
        body = self._body()
        packed = zstandard.ZstdCompressor(level=9).compress(body)
        return bytes([KIND, _ZSTD]) + packed if len(packed) < len(body) else bytes([KIND, 0]) + body

    def _body(self) -> bytes:
        out = bytearray()
        headers = {header: index for index, header in enumerate(dict.fromkeys(m.header for m in self.members))}
        put_numbers(out, VERSION, self.wire_length, self.plain_length, len(headers))
        for header in headers:
            put_numbers(out, len(header))
            out += header
        put_numbers(out, len(self.choices))
        for choice in self.choices:
            put_numbers(out, choice.model_id, choice.member_param)
        put_numbers(out, len(self.members))
        for member in self.members:
            put_numbers(out, headers[member.header], 0 if member.trailer is None else 1)
            out += member.trailer or b""
            _put_segments(out, member.segments)
        put_numbers(out, len(self.trailing))
        out += self.trailing
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> GzipRecipe:
        """The recipe that `to_bytes` wrote. Raises `Corrupt` for other bytes, unknown versions and models included."""
        if len(data) < 2 or data[0] != KIND or data[1] & ~_ZSTD:
            raise Corrupt("recipe: not a gzip recipe")
        body = bounded.decompress(data[2:], _BODY_LIMIT_BYTES, "recipe") if data[1] & _ZSTD else data[2:]
        reader = NumberReader(body, "recipe")
        version = reader.take()
        if version != VERSION:
            raise Corrupt(f"recipe: version {version} is unknown; a newer Reducto wrote it")
        wire_length, plain_length = reader.take(), reader.take()
        headers = [reader.take_bytes(reader.take()) for _ in range(reader.take(PARTS_LIMIT))]
        choices = [EncoderChoice(reader.take(0xFFFF), reader.take(0xFFFFFFFF)) for _ in range(reader.take(0xFFFF))]
        for choice in choices:
            if choice.model_id not in kernel.models():
                raise Corrupt(f"recipe: encoder model {choice.model_id:#06x} is unknown; a newer Reducto wrote it")
        members = [_take_member(reader, headers, len(choices)) for _ in range(reader.take(PARTS_LIMIT))]
        trailing = reader.take_bytes(reader.take())
        reader.finish()
        recipe = cls(wire_length, plain_length, choices, members, trailing)
        recipe._check_lengths()
        return recipe

    def _check_lengths(self) -> None:
        wire, plain = len(self.trailing), 0
        for member in self.members:
            wire += len(member.header) + 8 + (sum(s.wire_bits for s in member.segments) + 7) // 8
            plain += sum(s.plain_length for s in member.segments)
        if (wire, plain) != (self.wire_length, self.plain_length):
            raise Corrupt("recipe: its parts do not add up to its lengths")

    def rebuild(
        self,
        plain: PlainReader,
        wire: ByteRange | None = None,
        submit: Submit | None = None,
        find_donor: FindDonor = lambda: None,
    ) -> Iterator[bytes | memoryview]:
        """The wire bytes of the range; see `reducto.container.Recipe.rebuild`. Raises `Corrupt` for a forged recipe.

        ``find_donor`` is asked for each group of segments, because a donor may be found while they are rebuilt.
        """
        return rebuild(self, plain, wire or ByteRange(0, self.wire_length), submit, find_donor)


def _put_segments(out: bytearray, segments: Sequence[DeflateSegment]) -> None:
    put_numbers(out, len(segments))
    bit = 0
    for segment in segments:
        put_numbers(out, segment.plain_length, segment.wire_bits, segment.choice, len(segment.corrections))
        out += segment.corrections
        if bit % 8:
            out.append(segment.shared_bits)
        bit += segment.wire_bits


def _take_member(reader: NumberReader, headers: list[bytes], choices: int) -> GzipMember:
    header = headers[reader.take(len(headers) - 1)] if headers else b""
    trailer = reader.take_bytes(8) if reader.take(1) else None
    segments: list[DeflateSegment] = []
    bit = 0
    for _ in range(reader.take(PARTS_LIMIT)):
        plain_length, wire_bits = reader.take(_SEGMENT_LIMIT_BYTES), reader.take(8 * _SEGMENT_LIMIT_BYTES)
        choice = reader.take(choices - 1)
        corrections = reader.take_bytes(reader.take())
        shared = reader.take_bytes(1)[0] if bit % 8 else 0
        if shared >> (bit % 8):
            raise Corrupt("recipe: shared bits overlap a segment")
        segments.append(DeflateSegment(plain_length, wire_bits, choice, corrections, shared))
        bit += wire_bits
    if not segments or (trailer is None and len(segments) != 1):
        raise Corrupt("recipe: a member has no segment, or a trailer that cannot be computed")
    return GzipMember(header, trailer, segments)
