"""Ports on loopback: free ones, and who answers on the others."""

import random
import socket
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException

LOOPBACK = "127.0.0.1"

FIRST, LAST = 15_000, 32_000
"""Below the range from which the kernel takes ports for outgoing connections (32768 and up): one of those could
otherwise sit on the port of a member that was killed when it is to be started again."""


def free_ports(count: int) -> list[int]:
    """`count` different ports on which nobody listens now. They are not reserved.

    Raises:
        OSError: there are not as many.
    """
    found: list[int] = []
    with ExitStack() as held:  # all stay bound until all are found, so that no port is found twice
        for port in random.sample(range(FIRST, LAST), LAST - FIRST):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(port)
    raise OSError(f"no {count} free ports between {FIRST} and {LAST}")


def accepts(port: int, seconds: float = 0.5) -> bool:
    """True if somebody takes connections on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=seconds):
            return True
    except OSError:
        return False


def http_missing(name: str, port: int, path: str) -> str | None:
    """None if a GET is answered with 200, otherwise what happened instead."""
    connection = HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{name} does not answer {path}: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"{name} answers {path} with {status}"
