"""Every setting of Reducto: one schema for the command line (TOML) and the sidecar (YAML).

The dataclasses below are the only definition. The reading of files and of the environment, the JSON Schema and the
documentation are all derived from them, so a key is added here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reducto.config.choices import Bind, LogFormat, LogLevel, Policy, Role, Scope
from reducto.config.fields import Bytes, KeySource, Seconds, option, section

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusOptions:
    """The places where corpora are looked up, and the cache of fetched ones."""

    repositories: tuple[str, ...] = option(
        (),
        "Where a corpus that is given by its name is looked up: directories, `oci://` or `https://` prefixes.",
    )
    cache_dir: Path = option(Path("~/.cache/reducto/corpora"), "Directory in which fetched corpora are kept.")
    max_cache_size: Bytes = option(
        Bytes(20 * GIB),
        "Largest size of `cache_dir`. Beyond it the corpora that were used longest ago are deleted; those in use stay.",
    )
    memory_mapped: bool = option(
        True, "Whether corpora are mapped into memory; `false` reads each one whole into memory."
    )
    refresh_interval: Seconds = option(
        Seconds(60), "How often the sidecar looks for changed base corpora; with `0s` it looks only when it starts."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionOptions:
    """The cutting, matching and compression of data."""

    chunk_size: Bytes = option(
        Bytes(8 * KIB), "Average size of a content-defined chunk.", minimum=1024, maximum=64 * KIB
    )
    compression_level: int = option(
        9, "zstd level that the command line and idle recompression use.", minimum=1, maximum=19
    )
    workers: int = option(
        0,
        "Number of threads that match, compress and rebuild; 0 means one for each processor core.",
        minimum=0,
        maximum=1024,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """The conditions for reducing a blob. Any other blob is stored as it came."""

    min_blob_size: Bytes = option(Bytes(16 * KIB), "A blob that is smaller than this is stored as it came.")
    min_score: float = option(
        0.03,
        "Least differential advantage score (the share of a blob's bytes that reducing is expected to save) "
        "with which the blob is reduced.",
        minimum=0,
        maximum=1,
    )
    sample_size: Bytes = option(
        Bytes(4 * MIB),
        "Number of decompressed bytes at a blob's beginning from which its score is computed.",
        minimum=64 * KIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningOptions:
    """Ed25519 signatures of corpora and records."""

    key: KeySource | None = option(
        None, "Private key with which records and corpora are signed: a file, or `env:NAME`."
    )
    trusted_keys: tuple[str, ...] = option(
        (), "Public keys whose signatures are accepted: PEM files, or directories of them."
    )
    required: bool = option(False, "Whether corpora and records without the signature of a trusted key are refused.")
    bind: Bind = option(
        Bind.REPOSITORY,
        "Where a signed record is valid: only in the `repository` that it was made for, or wherever its `digest` "
        "is asked for.",
    )
    trusted_origins: tuple[str, ...] = option(
        (), "Repositories (patterns such as `staging/*`) whose records stay valid when copied to another repository."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionOptions:
    """AES-256-GCM encryption of what is stored in the registry."""

    keys: tuple[KeySource, ...] = option(
        (),
        "Key-encryption keys: files, or `env:NAME`. The first one encrypts new data, every one decrypts.",
    )
    repositories: tuple[str, ...] = option(
        (),
        "Repositories with a key of their own, which can be destroyed alone: `PATTERN=KEY`, as in "
        "`tenants/acme/*=/keys/acme`. The first pattern that matches a repository decides.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """Access to the control port, and the proxies that may name a client's address."""

    api_keys_file: Path | None = option(
        None, "File of hashed API keys with their scopes. Without it the control port serves health and metrics only."
    )
    trusted_proxies: tuple[str, ...] = option(
        (), "Networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` names the client in logs and rate limits."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """The audit log: who did what to which digest, as JSON lines with a hash chain."""

    file: Path | None = option(None, "File to which the audit log is appended.")
    stdout: bool = option(False, "Whether audit lines are also written to standard output.")
    max_file_size: Bytes = option(
        Bytes(256 * MIB),
        "Size at which the audit log's file is renamed after its first line and a new file is begun. "
        "No file is ever deleted.",
        minimum=MIB,
    )
    checkpoint_interval: Seconds = option(
        Seconds(300),
        "How often a signed checkpoint is written to the audit log; needs `security.signing.key`.",
        minimum=1,
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
    """TLS of both ports. The files are read again when they change."""

    certificate_file: Path | None = option(None, "PEM file of the server's certificate chain.")
    key_file: Path | None = option(None, "PEM file of the server's private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """The address and the ports on which the sidecar listens."""

    address: str = option("0.0.0.0", "IP address on which both ports listen.")  # noqa: S104 - a server in a pod
    data_port: int = option(5000, "Port of the registry API, for pushes and pulls.", minimum=0, maximum=65535)
    control_port: int = option(9090, "Port of health checks, metrics and control.", minimum=0, maximum=65535)
    tls: TlsOptions = section(TlsOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """The registry behind the sidecar, or the directory of the embedded store."""

    url: str = option(
        "~/.local/share/reducto/registry",
        "`http://` or `https://` address of the registry, or a directory (an OCI image layout) to store in.",
    )
    ca_file: Path | None = option(
        None, "PEM file of certificates that are trusted in addition to the system's when speaking to the registry."
    )
    client_certificate_file: Path | None = option(
        None, "PEM file of the certificate that the sidecar shows to the registry (mutual TLS)."
    )
    client_key_file: Path | None = option(None, "PEM file of the private key of `client_certificate_file`.")
    credentials_file: Path | None = option(
        None,
        "A docker `config.json` for work that no client asked for: base corpora, recompression, maintenance. "
        "Clients' requests always go out with their own credentials.",
    )
    connect_timeout: Seconds = option(
        Seconds(10), "Longest time that opening a connection to the registry may take.", minimum=0.001
    )
    read_timeout: Seconds = option(
        Seconds(60), "Longest time without a byte from the registry before a request fails.", minimum=0.001
    )
    max_connections: int = option(64, "Largest number of open connections to the registry.", minimum=1, maximum=65536)
    retries: int = option(
        3,
        "How many times a failed request that may be sent again is sent again, after growing pauses.",
        minimum=0,
        maximum=20,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeOptions:
    """Which layers may refer to each other."""

    scope: Scope = option(
        Scope.REPOSITORY,
        "Whose layer corpora a new layer may refer to: those of the same `repository`, `namespace` or `registry`.",
    )
    index: str = option(
        "",
        "`redis://` address of a hook index that all replicas share. When it is empty, each replica keeps an index "
        "of its own on disk.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """Other sidecars in front of the same registry that clients reach at one common address."""

    peers: tuple[str, ...] = option(
        (),
        "Names (of a headless service) or addresses of all replicas. Requests of an upload are passed on to the "
        "replica that opened the upload, on `listen.data_port`. Empty means that there is only one replica.",
    )
    address: str = option(
        "", "The address of this replica among `replicas.peers`. Empty means the address of this host's name."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """Files of uploads that are still arriving. Nothing that was acknowledged lies only here."""

    dir: Path = option(Path("~/.cache/reducto/spool"), "Directory of upload sessions and of encoders' temporary files.")
    max_size: Bytes = option(
        Bytes(50 * GIB),
        "Largest number of bytes that all uploads together may hold in the spool. Beyond it further uploads get "
        "status 429 until others have ended.",
        minimum=MIB,
    )
    min_free: Bytes = option(
        Bytes(1 * GIB),
        "Free space on the disk of `spool.dir` below which the sidecar reports that it is not ready, so that new "
        "requests go to other replicas.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Rebuilt blobs and layer corpora on the local disk. The cache may be lost at any time."""

    dir: Path = option(Path("~/.cache/reducto/blobs"), "Directory of the cache.")
    max_size: Bytes = option(
        Bytes(20 * GIB),
        "Largest size of the rebuilt blobs, and separately of the layer corpora, in the cache. "
        "Beyond it those that were used longest ago are deleted.",
        minimum=MIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecompressionOptions:
    """Idle work: corpora are compressed again at a higher level, and new layers are compared with older ones."""

    enabled: bool = option(True, "Whether the sidecar recompresses when it is idle.")
    token_deltas: bool = option(
        True,
        "Whether idle work also stores which deflate tokens a new layer shares with an older one. "
        "With that, an edge rebuilds the layer faster.",
    )
    idle_after: Seconds = option(
        Seconds(60), "How long there must have been no push and no rebuild before idle work begins."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Limits for one client, and for all clients together."""

    blob_size: Bytes = option(Bytes(64 * GIB), "Largest blob that a client may push.", minimum=1)
    manifest_size: Bytes = option(Bytes(4 * MIB), "Largest manifest that a client may push.", minimum=KIB)
    plain_size: Bytes = option(
        Bytes(64 * GIB),
        "Largest decompressed size of a layer that is reduced; a larger one is stored as it came.",
        minimum=1,
    )
    header_size: Bytes = option(
        Bytes(16 * KIB), "Largest header line that a request may have.", minimum=KIB, maximum=MIB
    )
    header_timeout: Seconds = option(
        Seconds(30), "Longest time that a client may take to send a request's headers.", minimum=0.1
    )
    body_timeout: Seconds = option(
        Seconds(60), "Longest time without a byte while a client sends a request's body.", minimum=0.1
    )
    connections: int = option(20000, "Largest number of open connections from clients.", minimum=1)
    encodes: int = option(2, "How many blobs are reduced at the same time; further ones wait.", minimum=1)
    rebuilds: int = option(8, "How many blobs are rebuilt at the same time; further ones wait.", minimum=1)
    upload_sessions: int = option(1000, "Largest number of open upload sessions.", minimum=1)
    upload_idle: Seconds = option(
        Seconds(3600), "An upload session to which no request came for this long is dropped.", minimum=1
    )
    requests_per_second: float = option(
        0.0,
        "How many requests one client may send per second; further ones get status 429 with Retry-After. "
        "0 means no limit.",
        minimum=0,
    )
    burst: int = option(100, "How many requests one client may send at once beyond `requests_per_second`.", minimum=1)
    drain_timeout: Seconds = option(
        Seconds(300), "How long a sidecar that was told to stop waits for running transfers to end."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingOptions:
    """The log on standard error."""

    level: LogLevel = option(LogLevel.INFO, "Least severe level of lines that are logged.")
    format: LogFormat = option(LogFormat.TEXT, "Form of the log's lines: `text` for people, `json` for programs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingOptions:
    """OpenTelemetry traces. They need the `tracing` extra."""

    endpoint: str = option(
        "", "OTLP address to which traces are sent, such as `http://collector:4318/v1/traces`. Empty means no traces."
    )
    sample_ratio: float = option(0.1, "Share of requests that are traced, from 0 to 1.", minimum=0, maximum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The keys that belong to no section, and all sections."""

    enabled: bool = option(
        True,
        "The emergency brake: with `false` nothing that is pushed is reduced any more. "
        "What was reduced before is still served.",
    )
    role: Role = option(
        Role.ORIGIN,
        "`origin` stands in front of the registry and reduces what is pushed; `edge` stands near the nodes and is "
        "a mirror for pulls.",
    )
    policy: Policy = option(
        Policy.REPLACE,
        "What an origin stores in the registry: `replace` stores the reduced form instead of the original; `attach` "
        "keeps the original and adds the reduced form, which saves bandwidth only.",
    )
    corpora: tuple[str, ...] = option(
        (),
        "Base corpora that layers may refer to: files, directories, `oci://` or `https://` addresses, or names.",
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
