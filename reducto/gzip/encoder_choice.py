"""Which encoder may have made a gzip member, judged without trying: by its header and its first blocks."""

from __future__ import annotations

from dataclasses import dataclass

from reducto.kernel import gzip as kernel

# Go's time.Time{} cut to 32 bits of seconds, as pgzip and klauspost/compress write it when no time was set.
_GO_ZERO_TIME = bytes.fromhex("00096e88")
# RFC 1952 2.3.1: the value 255 of the OS field is "unknown"; FNAME is flag bit 3.
_OS_UNKNOWN = 255
_HAS_NAME = 0x08
# pigz takes no block size below 32 KiB (its option -b).
_PIGZ_LEAST_BLOCK_BYTES = 32768


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """An encoder model with the member's parameter: pigz's block size, zlib's memLevel, 0 for other models."""

    model_id: int
    member_param: int = 0

    @property
    def model(self) -> kernel.EncoderModel:
        """The facts about the encoder model."""
        return kernel.models()[self.model_id]


@dataclass(frozen=True, slots=True)
class EncoderEvidence:
    """What a member shows of its encoder: its header, and its first blocks as `kernel.BLOCK` entries."""

    header: bytes
    raw_blocks: bytes

    def candidates(self) -> list[EncoderChoice]:
        """All encoder models, the likely ones first."""
        level, families = self._likely()
        ordered = sorted(
            kernel.models().values(), key=lambda model: (model.level != level, not model.name.startswith(families))
        )
        choices = []
        for model in ordered:
            param = kernel.detect_param(model.model_id, self.raw_blocks)
            choices.append(EncoderChoice(model.model_id, param))
            if model.name.startswith("pigz-") and param >= 2 * _PIGZ_LEAST_BLOCK_BYTES:
                # The block size is seen as the distance of two markers, and every other block may have left none.
                choices.append(EncoderChoice(model.model_id, param // 2))
        return choices

    def _likely(self) -> tuple[int, tuple[str, ...]]:
        """The level by XFL, the families by the header fields that each fills in its own way (RFC 1952 2.3.1)."""
        if len(self.header) < 10:
            return 6, ("go-",)
        level = {2: 9, 4: 1}.get(self.header[8], 6)
        if self.header[4:8] == _GO_ZERO_TIME:
            return level, ("pgzip-", "klauspost-")
        if self.header[9] == _OS_UNKNOWN:
            return level, ("go-", "klauspost-")
        return level, ("gnu-gzip-",) if self.header[3] & _HAS_NAME else ("zlib-", "gnu-gzip-")
