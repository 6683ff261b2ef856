"""`reducto fsck`: rebuilds every layer, and checks that every manifest has everything that it names."""

from __future__ import annotations

from dataclasses import dataclass

from reducto.errors import ReductoError
from reducto.oci.client import StoredManifest
from reducto.oci.manifest import Manifest, digests_in
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import ManifestInvalid, Refused
from reducto.values import Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of
from sidecar.records.format import LayerRecord
from sidecar.records.repository import Repository


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    repository: str
    kind: str
    """``layer``, ``image``, ``index``, or ``manifest`` for one that is stored as it came."""
    digest: str
    trouble: str = ""
    """What is wrong; empty if nothing is."""


async def check(sidecar: Sidecar, name: RepositoryName) -> list[Finding]:
    """Checks the whole repository. Raises `Refused` if its tags or manifests cannot be listed or read."""
    repository = sidecar.repository(name)
    contents = await contents_of(repository)
    layers: dict[tuple[Digest, Digest], LayerRecord] = {}
    for layer in contents.layers.values():
        layers[layer.digest, layer.instructions.digest] = layer
    for image in contents.images.values():
        for layer in image.layers:
            layers.setdefault((layer.digest, layer.instructions.digest), layer)
    findings = [
        Finding(str(repository), "layer", str(layer.digest), await trouble_of(sidecar, repository, layer))
        for layer in layers.values()
    ]
    findings += await _check_images(contents)
    findings += await _check_indexes(contents)
    findings += await _check_plain(contents)
    return findings


async def trouble_of(sidecar: Sidecar, repository: Repository, layer: LayerRecord) -> str:
    """Rebuilds the layer. Returns why it cannot be rebuilt bit for bit, or nothing if it can."""
    hasher, length = layer.digest.hasher(), 0
    try:
        decoder = await sidecar.pull.decoders.decoder(repository, layer)
        try:
            pieces = await sidecar.runtime.offload.run(decoder.rebuild)
            while (piece := await sidecar.runtime.offload.run(next, pieces, None)) is not None:
                await sidecar.runtime.offload.run(hasher.update, piece)
                length += len(piece)
        finally:
            await sidecar.runtime.offload.run(decoder.close)
    except (Refused, ReductoError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    if length != layer.wire_length or hasher.hexdigest() != layer.digest.hex:
        return f"{length} bytes were rebuilt, but they are not {layer.digest}"
    return ""


async def _check_images(contents: Contents) -> list[Finding]:
    findings = []
    for image in contents.images.values():
        missing = [str(blob.digest) for blob in image.stored if not await contents.repository.has_blob(blob.digest)]
        trouble = f"blobs are missing: {', '.join(missing)}" if missing else ""
        findings.append(Finding(str(contents.repository), "image", str(image.digest), trouble))
    return findings


async def _check_indexes(contents: Contents) -> list[Finding]:
    findings = []
    for index in contents.indexes.values():
        missing = [
            str(child.digest)
            for child in index.children
            if child.digest not in contents.records and not await _holds(contents.repository, child.digest)
        ]
        trouble = f"manifests or blobs are missing: {', '.join(missing)}" if missing else ""
        findings.append(Finding(str(contents.repository), "index", str(index.digest), trouble))
    return findings


async def _check_plain(contents: Contents) -> list[Finding]:
    """Checks that manifests which are stored as they came have everything that they name, or records of it."""
    known = {each.record.digest for each in contents.records.values()}
    known |= {layer.digest for image in contents.images.values() for layer in image.layers}
    known |= set(contents.plain)
    findings = []
    for digest, found in contents.plain.items():
        missing = []
        for named in sorted(_named(found) - known):
            if await _holds(contents.repository, named):
                known.add(named)
            else:
                missing.append(str(named))
        trouble = f"manifests or blobs are missing: {', '.join(missing)}" if missing else ""
        findings.append(Finding(str(contents.repository), "manifest", str(digest), trouble))
    return findings


def _named(found: StoredManifest) -> set[Digest]:
    """The digests that a manifest names. If its kind is unknown, these are all digests in its text."""
    try:
        manifest = Manifest.parse(found.data, found.media_type)
    except ManifestInvalid:
        return digests_in(found.data)
    blobs = {blob.digest for blob in manifest.blobs if not blob.foreign}
    return blobs | {child.digest for child in manifest.children}


async def _holds(repository: Repository, digest: Digest) -> bool:
    """Whether the repository holds a blob or a manifest with this digest."""
    return await repository.has_blob(digest) or await repository.shows(digest)
