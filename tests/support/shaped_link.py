"""A link of a given rate to another host.

The host is a network namespace behind a veth pair, whose two ends tc's token bucket filter (tbf) limits.
"""

import ipaddress
import itertools
import os
import subprocess
from types import TracebackType
from typing import Self

from tests.support.process import run

_NUMBERS = itertools.count()


class ShapedLink:
    """``with ShapedLink(100) as link``: programs started with ``link.enter`` run behind the link, at ``link.address``.

    This machine's end is ``link.host_address``. Rates are in Mbit/s and hold in each direction. It needs root.
    """

    def __init__(self, rate_mbit: float, burst_bytes: int = 64 * 1024) -> None:
        number = next(_NUMBERS)
        self.rate_mbit = rate_mbit
        self._burst_bytes = burst_bytes
        self._name = f"rd{os.getpid() % 100_000}x{number}"
        # Each link of each process gets a /30 of the shared address space (RFC 6598).
        block = int(ipaddress.IPv4Address("100.64.0.0")) + 4 * ((os.getpid() * 16 + number) % (1 << 18))
        self.host_address, self.address = (str(ipaddress.IPv4Address(block + each)) for each in (1, 2))

    @property
    def enter(self) -> list[str]:
        """The command prefix that runs a program on the other host."""
        return ["ip", "netns", "exec", self._name]

    def __enter__(self) -> Self:
        near, far = f"{self._name}n", f"{self._name}f"
        run("ip", "netns", "add", self._name)
        try:
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
            run("ip", "link", "set", far, "netns", self._name)
            for prefix, device, address in (([], near, self.host_address), (self.enter, far, self.address)):
                run(*prefix, "ip", "address", "add", f"{address}/30", "dev", device)
                run(*prefix, "ip", "link", "set", device, "up")
                run(*prefix, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{self.rate_mbit}mbit",
                    "burst", str(self._burst_bytes), "latency", "100ms")  # fmt: skip
            run(*self.enter, "ip", "link", "set", "lo", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self._name], capture_output=True)
        subprocess.run(["ip", "link", "delete", f"{self._name}n"], capture_output=True)


def available() -> bool:
    """Whether this machine and user can make network namespaces and limit links."""
    try:
        with ShapedLink(1000):
            return True
    except (RuntimeError, OSError):
        return False
