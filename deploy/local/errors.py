"""What can go wrong while a cluster is started; every message is written for whoever typed the command."""


class LauncherError(Exception):
    """Something of the cluster could not be started, stopped or reached."""


class ProgramMissing(LauncherError):
    """Programs that are not installed; the message says what to install."""


class NotReady(LauncherError):
    """It was started and did not become what it should be in time, or ended."""


class Cancelled(LauncherError):
    """The start was given up, because another part failed or somebody pressed Ctrl+C."""
