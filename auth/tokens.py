"""Room tokens: JWTs (RFC 7519) that say who somebody is and what they may do where. Pure: time is an argument.

A token's claims, as another backend mints them:

- ``sub`` (required): the user's id, at most 256 characters; ``name`` (optional): what others see, ``sub`` if absent
- ``room`` (required): a string is the exact name of one room; a list holds patterns (see `auth.permissions`)
- ``role`` (required): ``read``, ``comment``, ``write`` or ``own``
- ``exp`` (required), ``nbf`` (optional): unix seconds
- ``aud``, ``iss``: checked against the configuration. A token that carries an ``aud`` although none is configured was
  meant for somebody else and is refused (RFC 7519, 4.1.3)

The algorithm follows from the key, never from the token, so a token cannot choose ``none`` or have a public key used as
a shared secret. Header fields that name or carry keys (``kid``, ``jku``, ``jwk``, ``x5u``) are not looked at.
"""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from auth.errors import KeyUnusable, TokenExpired, Unauthenticated
from auth.principal import Access

MAX_TOKEN = 8 * 1024
"""Bytes. Proxies and servers commonly cut a request line or header at 8 KiB, so a longer token never arrives anyway."""

MAX_TEXT = 256
MAX_ROOMS = 100
MAX_ROOM = 1024

MIN_SECRET = 32
"""Bytes: RFC 7518, 3.2 asks HS256 for a key at least as long as its hash."""

MIN_RSA_BITS = 2048  # RFC 7518, 3.3

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

_JWS = jwt.PyJWS()

ROLES = {"read": Access.READ, "comment": Access.COMMENT, "write": Access.WRITE, "own": Access.OWN}


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm it is used with. `signs` is False for a public key."""

    algorithm: Algorithm
    material: Any  # bytes, or a key object of the cryptography package
    signs: bool

    def __repr__(self) -> str:
        return f"Key({self.algorithm})"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. `rooms` is one exact name or a tuple of patterns, `expires_at` is unix seconds."""

    subject: str
    name: str
    rooms: str | tuple[str, ...]
    role: Access
    expires_at: float


def secret_key(secret: str | bytes) -> Key:
    """A shared secret for HS256. Raises `KeyUnusable` if it is too short or a PEM key by mistake."""
    material = secret.encode() if isinstance(secret, str) else secret
    if len(material) < MIN_SECRET:
        raise KeyUnusable(f"a shared secret must be at least {MIN_SECRET} bytes long")
    if b"-----BEGIN " in material:
        raise KeyUnusable("this is a PEM key, not a shared secret")
    return Key("HS256", material, signs=True)


def public_key(pem: str | bytes) -> Key:
    """A public key from PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA). Raises `KeyUnusable`."""
    material = pem.encode() if isinstance(pem, str) else pem
    if b"PRIVATE KEY-----" in material:
        raise KeyUnusable("this is a private key; a server that only checks tokens should not have it")
    try:
        key = load_pem_public_key(material)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("not a public key in PEM form") from error
    return Key(_algorithm(key), key, signs=False)


def private_key(pem: str | bytes) -> Key:
    """A private key from unencrypted PEM, for minting. Raises `KeyUnusable`."""
    material = pem.encode() if isinstance(pem, str) else pem
    try:
        key = load_pem_private_key(material, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("not an unencrypted private key in PEM form") from error
    return Key(_algorithm(key), key, signs=True)


def _algorithm(key: object) -> Algorithm:
    if isinstance(key, RSAPublicKey | RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeyUnusable(f"an RSA key must have at least {MIN_RSA_BITS} bits")
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey | EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return "EdDSA"
    raise KeyUnusable("the key must be RSA, P-256 or Ed25519")


def verify(
    token: str, keys: Sequence[Key], now: float, audience: str | None, issuer: str | None, leeway: float
) -> Claims:
    """The claims of `token` if one of `keys` signed it and it holds at `now` (unix seconds), give or take `leeway`.

    Raises `TokenExpired` for a token that is only too old, `Unauthenticated` for any other that does not hold.
    """
    if len(token) > MAX_TOKEN:
        raise Unauthenticated("token too long")
    payload = _signed_payload(token, keys)
    claims = _json_object(payload)
    _check_addressee(claims, audience, issuer)
    expires_at = _check_time(claims, now, leeway)
    subject = _text(claims, "sub")
    return Claims(
        subject=subject,
        name=_text(claims, "name") if "name" in claims else subject,
        rooms=_rooms(claims.get("room")),
        role=_role(claims.get("role")),
        expires_at=expires_at,
    )


def mint(  # noqa: PLR0913, RUF100 - each argument is one claim
    key: Key,
    *,
    subject: str,
    rooms: str | Sequence[str],
    role: str,
    now: float,
    ttl: float,
    name: str | None = None,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """A token signed with `key`, valid for `ttl` seconds from `now`. Raises `KeyUnusable`, or `ValueError` for claims
    that `verify` would refuse."""
    if not key.signs:
        raise KeyUnusable("a public key cannot sign")
    claims = {
        "sub": subject,
        "name": name,
        "room": rooms if isinstance(rooms, str) else list(rooms),
        "role": role,
        "iat": int(now),
        "exp": int(now + ttl),
        "aud": audience,
        "iss": issuer,
    }
    token = jwt.encode({k: v for k, v in claims.items() if v is not None}, key.material, algorithm=key.algorithm)
    try:
        verify(token, [_public_part(key)], now, audience, issuer, leeway=1)
    except Unauthenticated as error:
        raise ValueError(f"such a token would be refused: {error.reason}") from error
    return token


def _public_part(key: Key) -> Key:
    if key.algorithm == "HS256":
        return key
    return Key(key.algorithm, key.material.public_key(), signs=False)


def _signed_payload(token: str, keys: Sequence[Key]) -> bytes:
    _check_header(token)
    for key in keys:
        try:
            decoded = _JWS.decode_complete(token, key.material, algorithms=[key.algorithm])
        except jwt.InvalidAlgorithmError:
            continue
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthenticated("malformed token") from error
        payload: bytes = decoded["payload"]
        return payload
    raise Unauthenticated("token not signed with a known key")


def _check_header(token: str) -> None:
    """Refuses what the library might interpret: extensions we would have to understand (RFC 7515, 4.1.11), and JSON
    that is read differently by different parsers."""
    encoded, dot, _ = token.partition(".")
    try:
        raw = base64.b64decode(encoded.encode("ascii") + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise Unauthenticated("malformed token") from error
    header = _json_object(raw)
    if not dot or "crit" in header or "b64" in header:
        raise Unauthenticated("malformed token")


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unauthenticated("malformed token") from error
    if not isinstance(value, dict):
        raise Unauthenticated("malformed token")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_addressee(claims: dict[str, Any], audience: str | None, issuer: str | None) -> None:
    meant_for = claims.get("aud")
    if isinstance(meant_for, str):
        meant_for = [meant_for]
    if meant_for is None:
        meant_for = []
    if not isinstance(meant_for, list) or (audience is None and meant_for):
        raise Unauthenticated("token meant for another audience")
    if audience is not None and audience not in meant_for:
        raise Unauthenticated("token meant for another audience")
    if issuer is not None and claims.get("iss") != issuer:
        raise Unauthenticated("token of another issuer")


def _check_time(claims: dict[str, Any], now: float, leeway: float) -> float:
    expires_at = _instant(claims, "exp")
    if expires_at is None:
        raise Unauthenticated("token without exp")
    if now >= expires_at + leeway:
        raise TokenExpired("token expired")
    not_before = _instant(claims, "nbf")
    if not_before is not None and now < not_before - leeway:
        raise Unauthenticated("token not valid yet")
    return expires_at


def _instant(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unauthenticated(f"token with a wrong {name}")
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT or not _printable(value):
        raise Unauthenticated(f"token with a wrong {name}")
    return value


def _printable(value: str) -> bool:
    """False for control characters and for half a surrogate pair, which no UTF-8 can carry."""
    return not any(char < " " or "\x7f" <= char < "\xa0" or "\ud800" <= char <= "\udfff" for char in value)


def _rooms(value: object) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        return _room(value)
    if not 0 < len(value) <= MAX_ROOMS:
        raise Unauthenticated("token with a wrong room")
    return tuple(_room(name) for name in value)


def _room(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ROOM or not _printable(value):
        raise Unauthenticated("token with a wrong room")
    return value


def _role(value: object) -> Access:
    role = ROLES.get(value) if isinstance(value, str) else None
    if role is None:
        raise Unauthenticated("token with a wrong role")
    return role
