"""Why somebody was not let in. Reasons are short, fixed texts: they are sent to the client and logged as they are."""


class AuthError(Exception):
    """Root of this package's errors; `reason` never contains anything of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unauthenticated(AuthError):
    """We do not know who this is: no token, or one that does not hold. Another token may help."""


class TokenExpired(Unauthenticated):
    """The token was good once: the client should fetch a new one and come back."""


class Forbidden(AuthError):
    """We know who this is, and they may not enter this room."""


class KeyUnusable(ValueError):
    """The configured key cannot verify (or sign) tokens; a mistake of the operator, never of a client."""
