"""Rules about several keys at once: settings that contradict each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from reducto.config.choices import Policy, Role
from reducto.config.schema import Config


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Each key whose value cannot stay as it is, with a text that says what it must be."""
    yield from _listen(config)
    yield from _upstream(config)
    yield from _security(config)
    if config.role is Role.EDGE and config.policy is Policy.ATTACH:
        yield "policy", "is for an origin; an edge stores nothing in the registry, so leave the key out"
    if config.dedupe.index and not config.dedupe.index.startswith(("redis://", "rediss://")):
        yield "dedupe.index", "must be a redis:// or rediss:// address, or empty"
    if config.spool.dir == config.cache.dir:
        yield "cache.dir", "must differ from spool.dir"


def _listen(config: Config) -> Iterator[tuple[str, str]]:
    tls = config.listen.tls
    if (tls.certificate_file is None) != (tls.key_file is None):
        yield "listen.tls", "needs both certificate_file and key_file, or neither"
    if config.listen.data_port == config.listen.control_port != 0:
        yield "listen.control_port", "must differ from listen.data_port"


def _upstream(config: Config) -> Iterator[tuple[str, str]]:
    if (config.upstream.client_certificate_file is None) != (config.upstream.client_key_file is None):
        yield "upstream.client_certificate_file", "and client_key_file go together: set both, or neither"
    url = urlsplit(config.upstream.url)
    if not config.upstream.url:
        yield "upstream.url", "must be the registry's http(s) address, or a directory"
    elif "://" not in config.upstream.url:
        if config.role is Role.EDGE:
            yield "upstream.url", "of an edge must be the http(s) address of the origin's registry"
    elif url.scheme not in ("http", "https") or not url.hostname:
        yield "upstream.url", "must begin with http:// or https://, or be a directory"
    elif url.username or url.query or url.fragment:
        yield (
            "upstream.url",
            "must hold no user, query or fragment; credentials go to credentials_file",
        )


def _security(config: Config) -> Iterator[tuple[str, str]]:
    signing = config.security.signing
    if signing.required and not signing.trusted_keys:
        yield (
            "security.signing.required",
            "needs trusted_keys, which name the keys whose signatures are accepted",
        )
    encryption = config.security.encryption
    if encryption.repositories and not encryption.keys:
        yield "security.encryption.keys", "is needed for the repositories that have no key of their own"
    for text in encryption.repositories:
        if not all(text.partition("=")):
            yield "security.encryption.repositories", f"holds {text!r}; an entry looks like team/*=/keys/team"
    for network in config.security.access.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield (
                "security.access.trusted_proxies",
                f"holds {network!r}; a network looks like 10.0.0.0/8",
            )
