"""Which pages may connect."""

import pytest

from syncd.origin import origin_allowed

APP = "https://app.example.org"


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "loopback", "verdict"),
    [
        (None, "any", (), True, True),
        ("http://localhost:8000", "localhost:8000", (), True, True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", (), True, True),
        ("http://[::1]:8000", "[::1]:8000", (), True, True),
        ("http://LOCALHOST:8000", "localhost:8000", (), True, True),
        ("http://localhost:8001", "localhost:8000", (), True, False),
        ("http://localhost:8000", "127.0.0.1:8000", (), True, False),
        ("http://evil.example:8000", "evil.example:8000", (), True, False),
        ("http://evil.example:8000", "evil.example:8000", (), False, True),
        ("http://evil.example", "docs.example", (), False, False),
        ("http://docs.example.evil", "docs.example", (), False, False),
        (APP, "docs.example", (APP,), False, True),
        (APP + ":444", "docs.example", (APP,), False, False),
        (APP.upper(), "docs.example", (APP,), False, False),
        ("http://evil.example", "docs.example", ("*",), True, True),
        ("null", "localhost", (), True, False),
        ("null", "", (), False, False),
        ("", "", (), False, False),
        ("file://", "", (), False, False),
        ("http://[", "localhost", (), True, False),
        ("http://[::1", "[::1", (), False, False),
        ("http://\u2100.example", "x", (), False, False),
    ],
)
def test_origins(origin: str | None, host: str, allowed: tuple[str, ...], loopback: bool, verdict: bool) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert origin_allowed(headers, allowed, loopback_only=loopback) is verdict


def test_a_request_without_a_host_is_not_its_own_origin() -> None:
    assert not origin_allowed({"origin": "http://localhost"}, (), loopback_only=True)
