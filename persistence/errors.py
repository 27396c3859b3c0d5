"""What can go wrong with a store, by who can do something about it.

Callers branch on the class or on `retryable`, never on the text. An adapter wraps its driver's errors in these and
keeps the cause (`raise ... from`).
"""


class StoreError(Exception):
    """Root of every error that a store, the sandbox or the compactor raises on purpose.

    `retryable`: True when the same call may succeed later without anybody repairing anything.
    """

    retryable = False


class StoreUnavailable(StoreError):
    """The store cannot answer now (locked, away, timed out); nothing was written by this call."""

    retryable = True


class StoreBroken(StoreError):
    """A write, a commit or an fsync failed, or the file is damaged. Fatal: every later call fails too.

    After a failed fsync the kernel may have dropped the dirty pages and call the next fsync a success, so a retry
    would acknowledge what is not on the disk. The process must stop acknowledging, and exit.
    """


class StoreClosed(StoreError):
    """The store was closed by this process."""


class StoreInUse(StoreError):
    """Another process has this store open for writing."""


class SchemaTooNew(StoreError):
    """The database was written by a newer syncd; this one would damage it."""


class SchemaTooOld(StoreError):
    """The database was written by an older syncd and is opened for reading only, so it cannot be brought up to date."""


class StoreUrlError(StoreError):
    """The URL names no store that this build can open."""


class RecordTooLarge(StoreError):
    """A record is larger than the adapter can ever store; nothing of its call was written."""


class CorruptRecord(StoreError):
    """Stored bytes do not match their checksum, or a room's positions have a hole.

    The room is refused as a whole: serving what is left would show an older or an empty document as the current one.

    `room`: the room's name. `position`: the position of the record, or the last position of the block.
    """

    def __init__(self, room: str, position: int, reason: str) -> None:
        super().__init__(f"room {room!r}, position {position}: {reason}")
        self.room = room
        self.position = position
        self.reason = reason


class SandboxError(StoreError):
    """A job in the child process did not end with a result."""


class SandboxDied(SandboxError):
    """The child died of a signal, or went away in the middle of a job."""

    retryable = True


class SandboxTimeout(SandboxError):
    """The job passed its wall or CPU deadline and the child was killed."""

    retryable = True


class SandboxMemory(SandboxError):
    """The job needed more memory than its limit."""

    retryable = True


class JobFailed(SandboxError):
    """The job ran and refused its input.

    `rule`: short kebab-case name (a metric label). `detail`: text for people.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class CompactionFailed(StoreError):
    """What is stored already cannot be folded or checked, so no update can be blamed; nothing was changed."""
