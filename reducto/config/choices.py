"""The settings whose value is one of several words."""

from __future__ import annotations

import enum


class Role(enum.StrEnum):
    """Where this sidecar stands: in front of the registry, or near the nodes that pull."""

    ORIGIN = "origin"
    EDGE = "edge"


class Policy(enum.StrEnum):
    """What an origin keeps in the registry: the reduced form in place of the original, or both."""

    REPLACE = "replace"
    ATTACH = "attach"


class Scope(enum.StrEnum):
    """Which repositories share layer corpora. The scope is a security boundary between tenants."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    REGISTRY = "registry"


class Bind(enum.StrEnum):
    """Where a signed record is valid: in one repository, or wherever its digest is asked for."""

    REPOSITORY = "repository"
    DIGEST = "digest"


class LogFormat(enum.StrEnum):
    """The form of a log line."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
