"""`auth.authenticator`: the two modes, from a token to a grant."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from auth.authenticator import Authenticator, verification_keys
from auth.errors import Forbidden, KeyUnusable, TokenExpired, Unauthenticated
from auth.principal import ANONYMOUS, Access, Grant, Principal
from auth.tokens import mint, private_key, secret_key

NOW = 1_800_000_000.0
KEY = secret_key("a shared secret that is long enough for it")


def external() -> Authenticator:
    return Authenticator("external", [KEY], leeway=5)


def token(rooms: str = "notes", role: str = "write") -> str:
    return mint(KEY, subject="alice", name="Alice", rooms=rooms, role=role, now=NOW, ttl=60)


@pytest.mark.parametrize("given", [None, "", "nonsense", token()])
def test_open_lets_everybody_write_without_end(given: str | None) -> None:
    assert Authenticator("open").authenticate(given, "any/room", NOW) == Grant(ANONYMOUS, Access.WRITE, None)


def test_external_grants_what_the_token_says_until_it_ends() -> None:
    grant = external().authenticate(token(role="read"), "notes", NOW)
    assert grant == Grant(Principal("alice", "Alice", "user"), Access.READ, NOW + 65)


def test_a_grant_ends_when_its_token_would_be_refused() -> None:
    grant = external().authenticate(token(), "notes", NOW)
    assert grant.expires_at is not None
    assert external().authenticate(token(), "notes", grant.expires_at - 0.01).access is Access.WRITE
    with pytest.raises(TokenExpired):
        external().authenticate(token(), "notes", grant.expires_at)


@pytest.mark.parametrize("given", [None, ""])
def test_external_needs_a_token(given: str | None) -> None:
    with pytest.raises(Unauthenticated, match="token missing"):
        external().authenticate(given, "notes", NOW)


def test_a_token_for_another_room_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        external().authenticate(token("notes"), "diary", NOW)


def test_external_without_a_key_cannot_be_built() -> None:
    with pytest.raises(KeyUnusable):
        Authenticator("external")


def test_keys_come_from_a_secret_a_pem_or_a_file(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    file = tmp_path / "key.pem"
    file.write_text(pem)
    signing = private_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signed = mint(signing, subject="a", rooms="notes", role="own", now=NOW, ttl=60)
    for public in (pem, str(file)):
        authenticator = Authenticator("external", verification_keys(None, public))
        assert authenticator.authenticate(signed, "notes", NOW).access is Access.OWN
    assert [key.algorithm for key in verification_keys("x" * 32, None)] == ["HS256"]
    assert verification_keys(None, None) == ()


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"absent\.pem"):
        verification_keys(None, str(tmp_path / "absent.pem"))
