"""The address of a request's client: the peer's own, or the one that a trusted proxy names."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddresses:
    """Finds client addresses; ``X-Forwarded-For`` is believed only if it comes from one of the trusted networks."""

    def __init__(
        self, trusted_networks: Sequence[str] = (), is_replica: Callable[[str], bool] = lambda _: False
    ) -> None:
        """``is_replica`` says whether an address is that of another sidecar, which is trusted like a proxy."""
        self._is_replica = is_replica
        self._trusted = [ipaddress.ip_network(network) for network in trusted_networks]

    def of(self, peer: str | None, forwarded_for: str | None) -> str:
        """The client's address; ``unknown`` when there is no peer (a closed connection, a Unix socket).

        ``X-Forwarded-For`` is read from its end, where the nearest proxy wrote. The first address there that is not a
        trusted proxy's is the client's. Anything before it was written by the client itself and is ignored.
        """
        address = _parse(peer or "")
        if address is None:
            return "unknown"
        for text in reversed((forwarded_for or "").split(",")):
            claimed = _parse(text.strip())
            if claimed is None or not self._is_trusted(address):
                break
            address = claimed
        return str(address)

    def _is_trusted(self, address: _Address) -> bool:
        return self._is_replica(str(address)) or any(
            address in network for network in self._trusted if network.version == address.version
        )


def group_of(address: str) -> str:
    """The key by which limits tell clients apart: an IPv4 address, or the IPv6 /64 in which a host chooses freely."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _parse(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
