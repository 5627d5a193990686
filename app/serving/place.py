"""Where the studio is to be reached, by which names, and by whom."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from detdiffusion.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")  # what listens on all addresses of the machine
SHARED = "*.gradio.live"  # where Gradio's tunnel ends
NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the studio listens, and who may come in.

    logins: (name, password); none: everybody who reaches it. names: hosts by which it is known besides, as behind a
    proxy. root_path: under which path a proxy shows it, as "/studio".

    Raises:
        ConfigError: a name that no host has, or a path that is none.
    """

    host: str
    port: int
    logins: tuple[tuple[str, str], ...] = ()
    share: bool = False
    names: tuple[str, ...] = ()
    root_path: str = ""

    def __post_init__(self) -> None:
        for name in self.names:
            if not NAME.fullmatch(name):
                raise ConfigError(f"host {name!r} needs to be a name such as studio.example.org, without port or path")
        if not re.fullmatch(r"((https?://[^/?#\s]+)?(/[\w.~-]+)+)?", self.root_path):
            raise ConfigError(f"root path {self.root_path!r} needs to be a path such as /studio")

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        return f"http://{bracketed(self.host)}:{self.port}"

    def hosts(self) -> list[str]:
        """What a request may name as its host, as Starlette's `TrustedHostMiddleware` takes them."""
        bound = [bracketed(self.host)]
        if self.host in EVERYWHERE:
            families = (socket.AF_INET, socket.AF_INET6)
            found = [one for ones in psutil.net_if_addrs().values() for one in ones if one.family in families]
            bound += [socket.gethostname(), *(bracketed(one.address.partition("%")[0]) for one in found)]
        return list(dict.fromkeys((*LOOPBACK, *bound, *self.names, *([SHARED] if self.share else []))))

    def warning(self) -> str:
        """What is risky about it; empty where nothing is."""
        try:
            here = self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            here = False  # some name
        if self.logins or (here and not self.share):
            return ""
        where = "a public address" if self.share else f"{self.host}, beyond this machine,"
        return f"anybody can reach the studio at {where} without a password: add --auth NAME:PASSWORD"


def bracketed(host: str) -> str:
    """A host as an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
