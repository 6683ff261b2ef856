"""Every setting of Reducto: one schema for the command line (TOML) and the sidecar (YAML).

The dataclasses are the only definition; files, environment, JSON Schema and documentation follow them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from reducto.config.fields import Bytes, KeySource, Seconds, option, section

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Role(enum.StrEnum):
    """Where this sidecar stands."""

    ORIGIN = "origin"
    EDGE = "edge"


class Policy(enum.StrEnum):
    """What an origin keeps in the registry."""

    REPLACE = "replace"
    ATTACH = "attach"


class Scope(enum.StrEnum):
    """How far layer corpora are shared: a security boundary."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    REGISTRY = "registry"


class Bind(enum.StrEnum):
    """Where a signed record is good."""

    REPOSITORY = "repository"
    DIGEST = "digest"


class LogFormat(enum.StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """The least severe line that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusOptions:
    """Where corpora are found and kept."""

    repositories: tuple[str, ...] = option(
        (),
        "Where a corpus given by name is looked up: directories, `oci://` or `https://` prefixes.",
    )
    cache_dir: Path = option(Path("~/.cache/reducto/corpora"), "Directory of corpora that were fetched.")
    max_cache_size: Bytes = option(
        Bytes(20 * GIB), "Limit of `cache_dir`; what was used longest ago goes first, what is in use stays."
    )
    memory_mapped: bool = option(True, "Map corpora instead of reading them into memory.")
    refresh_interval: Seconds = option(
        Seconds(60), "How often the sidecar looks for changed corpora; `0s` only at start."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionOptions:
    """How data is reduced."""

    chunk_size: Bytes = option(
        Bytes(8 * KIB), "Average size of a content-defined chunk.", minimum=1024, maximum=64 * KIB
    )
    compression_level: int = option(
        9, "zstd level of the command line and of idle recompression.", minimum=1, maximum=19
    )
    workers: int = option(0, "Threads for kernel work; 0 is one per core.", minimum=0, maximum=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """When reducing pays; otherwise data is stored as it came."""

    min_blob_size: Bytes = option(Bytes(16 * KIB), "Smaller blobs are stored as they came.")
    min_score: float = option(
        0.03, "Least differential advantage score for which a blob is reduced.", minimum=0, maximum=1
    )
    sample_size: Bytes = option(Bytes(4 * MIB), "How much of a blob is sampled for the decision.", minimum=64 * KIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningOptions:
    """Ed25519 signatures of corpora and records."""

    key: KeySource | None = option(None, "Private key that signs: a file, or `env:NAME`.")
    trusted_keys: tuple[str, ...] = option(
        (), "Public keys whose signatures are believed: PEM files, or directories of them."
    )
    required: bool = option(False, "Refuse corpora and records that no trusted key signed.")
    bind: Bind = option(
        Bind.REPOSITORY,
        "Where a signed record is good: in the `repository` it was made for, or wherever its `digest` is asked for.",
    )
    trusted_origins: tuple[str, ...] = option(
        (), "Repositories (`staging/*`) whose records are also good when copied to another repository."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionOptions:
    """AES-256-GCM for what is stored."""

    keys: tuple[KeySource, ...] = option(
        (),
        "Key-encryption keys: files, or `env:NAME`. The first wraps new data, all unwrap.",
    )
    repositories: tuple[str, ...] = option(
        (),
        "Repositories with a key of their own, which can be destroyed alone: `PATTERN=KEY`, as in "
        "`tenants/acme/*=/keys/acme`; the first that matches counts.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """Who may use the control port."""

    api_keys_file: Path | None = option(
        None, "Hashed API keys and their scopes. Without it the control port serves health and metrics only."
    )
    trusted_proxies: tuple[str, ...] = option(
        (), "Networks (`10.0.0.0/8`) whose `X-Forwarded-For` names the client in logs and rate limits."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """Who did what to which digest, as JSON lines with a hash chain."""

    file: Path | None = option(None, "File that the audit log is appended to.")
    stdout: bool = option(False, "Write audit lines to standard output, too.")
    max_file_size: Bytes = option(
        Bytes(256 * MIB), "A larger file is put aside, named after its first line; none is deleted.", minimum=MIB
    )
    checkpoint_interval: Seconds = option(
        Seconds(300), "How often a signed checkpoint is written; needs `security.signing.key`.", minimum=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """Signatures, encryption, access and audit."""

    signing: SigningOptions = section(SigningOptions)
    encryption: EncryptionOptions = section(EncryptionOptions)
    access: AccessOptions = section(AccessOptions)
    audit: AuditOptions = section(AuditOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """TLS of both ports; the files are read again when they change."""

    certificate_file: Path | None = option(None, "PEM certificate chain.")
    key_file: Path | None = option(None, "PEM private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where the sidecar listens."""

    address: str = option("0.0.0.0", "Address of both ports.")  # noqa: S104 - a server in a pod
    data_port: int = option(5000, "Port of the registry API.", minimum=0, maximum=65535)
    control_port: int = option(9090, "Port of health, metrics and control.", minimum=0, maximum=65535)
    tls: TlsOptions = section(TlsOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """The registry, or a directory for the embedded store."""

    url: str = option(
        "~/.local/share/reducto/registry",
        "`http://` or `https://` address of the registry, or a directory (an OCI image layout) to store in.",
    )
    ca_file: Path | None = option(None, "PEM certificates to trust beside the system's.")
    client_certificate_file: Path | None = option(None, "PEM certificate to show to the registry (mutual TLS).")
    client_key_file: Path | None = option(None, "PEM private key of that certificate.")
    credentials_file: Path | None = option(
        None,
        "A docker `config.json` for work that no client asked for: base corpora, recompression, maintenance. "
        "Clients' requests always go out with their own credentials.",
    )
    connect_timeout: Seconds = option(Seconds(10), "Limit for opening a connection.", minimum=0.001)
    read_timeout: Seconds = option(Seconds(60), "Limit for silence on a connection.", minimum=0.001)
    max_connections: int = option(64, "Connections open at once.", minimum=1, maximum=65536)
    retries: int = option(3, "How often a request that may be repeated is, with backoff.", minimum=0, maximum=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeOptions:
    """Which layers may refer to each other."""

    scope: Scope = option(
        Scope.REPOSITORY, "Layers refer to layer corpora of the same `repository`, `namespace` or `registry`."
    )
    index: str = option(
        "", "`redis://` address of a hook index that replicas share; empty: each keeps its own on disk."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """Other sidecars before the same registry, behind one address for clients."""

    peers: tuple[str, ...] = option(
        (),
        "Names (of a headless service) or addresses of all replicas. Requests of an upload are passed on to the one "
        "that opened it, on `listen.data_port`. Empty: there is only one.",
    )
    address: str = option("", "The address of this replica among them; by default the one that this host's name has.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """Uploads on their way in. Nothing acknowledged lies only here."""

    dir: Path = option(Path("~/.cache/reducto/spool"), "Directory of upload sessions and encoder spools.")
    max_size: Bytes = option(Bytes(50 * GIB), "Limit; further uploads get 429 until others end.", minimum=MIB)
    min_free: Bytes = option(Bytes(1 * GIB), "Free disk below which the sidecar is not ready and refuses uploads.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Rebuilt blobs and layer corpora at hand."""

    dir: Path = option(Path("~/.cache/reducto/blobs"), "Directory of the cache. May be lost at any time.")
    max_size: Bytes = option(
        Bytes(20 * GIB),
        "Limit of the rebuilt blobs, and again of the layer corpora; what was used longest ago goes first.",
        minimum=MIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecompressionOptions:
    """Work for idle hours: what was written fast is packed again, and new layers are compared with older ones."""

    enabled: bool = option(True, "Whether to recompress.")
    token_deltas: bool = option(
        True, "Whether to state which deflate tokens a new layer shares with an older one: edges rebuild it faster."
    )
    idle_after: Seconds = option(Seconds(60), "How long there must have been no push or rebuild.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What one client, and all together, may ask for."""

    blob_size: Bytes = option(Bytes(64 * GIB), "Largest blob that is taken.", minimum=1)
    manifest_size: Bytes = option(Bytes(4 * MIB), "Largest manifest that is taken.", minimum=KIB)
    plain_size: Bytes = option(
        Bytes(64 * GIB),
        "Largest decompressed layer that is reduced; larger ones are stored as they came.",
        minimum=1,
    )
    header_size: Bytes = option(Bytes(16 * KIB), "Largest header line of a request.", minimum=KIB, maximum=MIB)
    header_timeout: Seconds = option(Seconds(30), "Limit for receiving a request's headers.", minimum=0.1)
    body_timeout: Seconds = option(Seconds(60), "Limit for silence inside a request's body.", minimum=0.1)
    connections: int = option(20000, "Connections of clients open at once.", minimum=1)
    encodes: int = option(2, "Blobs reduced at once; more wait.", minimum=1)
    rebuilds: int = option(8, "Blobs rebuilt at once; more wait.", minimum=1)
    upload_sessions: int = option(1000, "Upload sessions open at once.", minimum=1)
    upload_idle: Seconds = option(Seconds(3600), "An upload session untouched for so long is dropped.", minimum=1)
    requests_per_second: float = option(
        0.0, "Requests per second and client (429 beyond, with Retry-After); 0 is no limit.", minimum=0
    )
    burst: int = option(100, "Requests that a client may send at once above that rate.", minimum=1)
    drain_timeout: Seconds = option(Seconds(300), "How long a stopping sidecar waits for transfers to end.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingOptions:
    """The log on standard error."""

    level: LogLevel = option(LogLevel.INFO, "Least severe line that is logged.")
    format: LogFormat = option(LogFormat.TEXT, "Lines for people (`text`) or machines (`json`).")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingOptions:
    """OpenTelemetry traces; needs the `tracing` extra."""

    endpoint: str = option("", "OTLP address, `http://collector:4318/v1/traces`; empty: no traces.")
    sample_ratio: float = option(0.1, "Share of requests that are traced.", minimum=0, maximum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set."""

    enabled: bool = option(
        True,
        "`false` reduces nothing any more; what was reduced before is still served: the emergency brake.",
    )
    role: Role = option(
        Role.ORIGIN,
        "`origin` beside the registry: reduces what is pushed; `edge` near the nodes: a mirror for pulls.",
    )
    policy: Policy = option(
        Policy.REPLACE,
        "What an origin keeps: `replace` the original by its reduced form, or `attach` records to originals "
        "that stay (saves bandwidth only).",
    )
    corpora: tuple[str, ...] = option(
        (),
        "Base corpora: files, directories, `oci://` or `https://` addresses, or names.",
    )
    listen: ListenOptions = section(ListenOptions)
    upstream: UpstreamOptions = section(UpstreamOptions)
    dedupe: DedupeOptions = section(DedupeOptions)
    replicas: ReplicaOptions = section(ReplicaOptions)
    corpus: CorpusOptions = section(CorpusOptions)
    compression: CompressionOptions = section(CompressionOptions)
    gate: GateOptions = section(GateOptions)
    recompression: RecompressionOptions = section(RecompressionOptions)
    spool: SpoolOptions = section(SpoolOptions)
    cache: CacheOptions = section(CacheOptions)
    security: SecurityOptions = section(SecurityOptions)
    limits: LimitOptions = section(LimitOptions)
    logging: LoggingOptions = section(LoggingOptions)
    tracing: TracingOptions = section(TracingOptions)
