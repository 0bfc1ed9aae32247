"""Where a service can be reached, and who may reach it."""

from __future__ import annotations

import hmac
import ipaddress

from fluoropose.errors import InputError

__all__ = ["Token", "host_and_port", "is_loopback", "zmq_endpoint"]

_SHORTEST = 16


class Token:
    """What a program must know to use a service.

    Parameters
    ----------
    secret
        At least 16 characters; "" for a service that nobody beyond this machine can reach.
    """

    def __init__(self, secret: str = "") -> None:
        self._secret = secret.encode()
        if secret and len(secret) < _SHORTEST:
            raise InputError(f"token: expected at least {_SHORTEST} characters, found {len(secret)}")

    @property
    def needed(self) -> bool:
        """Whether there is one."""
        return bool(self._secret)

    def matches(self, offered: bytes) -> bool:
        """Compare, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(self._secret, offered)

    def require_for(self, host: str) -> None:
        """Raise InputError where a service at ``host`` can be reached by others and there is no token."""
        if not self.needed and not is_loopback(host):
            raise InputError(f"token: {host} can be reached from other machines; expected a token for that")


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def host_and_port(what: str, text: str) -> tuple[str, int]:
    """Read "PORT" (then the host is 127.0.0.1) or "HOST:PORT"; raises InputError that names ``what``."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InputError(f"{what}: expected igtl:PORT or igtl:HOST:PORT, such as igtl:18944, found {'igtl:' + text!r}")
    return host or "127.0.0.1", int(port)


def zmq_endpoint(what: str, text: str) -> tuple[str, str]:
    """Read "tcp://HOST:PORT" or "ipc://FILE" into transport and address; raises InputError that names ``what``."""
    transport, _, address = text.partition("://")
    if transport not in ("tcp", "ipc") or not address or (transport == "tcp" and ":" not in address):
        raise InputError(
            f"{what}: expected zmq:tcp://HOST:PORT or zmq:ipc://FILE, such as zmq:tcp://127.0.0.1:5555, "
            f"found {'zmq:' + text!r}"
        )
    return transport, address
