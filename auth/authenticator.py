"""Lets somebody into a room, or says why not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from auth.errors import Forbidden, KeyUnusable, Unauthenticated
from auth.permissions import access
from auth.principal import ANONYMOUS, Access, Grant, Principal
from auth.tokens import Key, public_key, secret_key, verify
from crdt.ids import RoomId

_EVERYBODY = Grant(ANONYMOUS, Access.WRITE, None)


class Authenticator:
    """Turns a token and a room into a `Grant`.

    ``open``: everybody may write everywhere; a token is not looked at. ``external``: a token signed with one of `keys`
    is required. `leeway` is the tolerated difference of clocks in seconds.
    """

    def __init__(
        self,
        mode: Literal["open", "external"],
        keys: Sequence[Key] = (),
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 10.0,
    ) -> None:
        if mode == "external" and not keys:
            raise KeyUnusable("external authentication needs a key")
        self._open = mode == "open"
        self._keys = tuple(keys)
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway

    def authenticate(self, token: str | None, room: str, now: float) -> Grant:
        """Who holds `token` and what they may do in `room` at `now` (unix seconds).

        Raises `auth.errors.Unauthenticated` (its subclass `TokenExpired` for a token that is merely too old) or
        `auth.errors.Forbidden`.
        """
        if self._open:
            return _EVERYBODY
        if not token:
            raise Unauthenticated("token missing")
        claims = verify(token, self._keys, now, self._audience, self._issuer, self._leeway)
        granted = access(claims, RoomId(room))
        if granted is Access.NONE:
            raise Forbidden("no access to this room")
        return Grant(Principal(claims.subject, claims.name, "user"), granted, claims.expires_at + self._leeway)


def verification_keys(secret: str | None, public: str | None) -> tuple[Key, ...]:
    """The keys of a configuration: a shared `secret`, or a `public` key as PEM or as the path of a PEM file.

    Raises `KeyUnusable` if a key cannot be read or used.
    """
    keys: list[Key] = []
    if secret is not None:
        keys.append(secret_key(secret))
    if public is not None:
        keys.append(public_key(public if "-----BEGIN" in public else _read(public)))
    return tuple(keys)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise KeyUnusable(f"cannot read the key file {path}: {error.strerror}") from error
