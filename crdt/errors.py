"""The one error that bytes of a peer can raise."""

from __future__ import annotations


class ProtocolError(Exception):
    """Bytes that a peer sent break a rule of the protocol or one of our limits.

    Attributes:
        rule: short kebab-case name of the rule, used as a metric label and in logs.
        detail: what was wrong, for a person. Never contains document content.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail

    def __reduce__(self) -> tuple[type[ProtocolError], tuple[str, str]]:
        """Keep both parts when the error crosses a process boundary."""
        return (ProtocolError, (self.rule, self.detail))
