"""The services that tests share: started when the first test asks for them, ended after the last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deploy.local.cluster import LocalCluster


@contextmanager
def cluster_folder() -> Iterator[Path]:
    """A folder that the user postgres may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-cluster-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def needing_programs() -> Iterator[None]:
    """Without its programs a test is skipped, but in continuous integration it fails."""
    from deploy.local.errors import ProgramMissing

    try:
        yield
    except ProgramMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real_services() -> Iterator[LocalCluster]:
    """Redis, Kafka and Postgres, all members running. A test that ends one starts it again."""
    from deploy.local.cluster import SERVICES_ONLY, LocalCluster

    with cluster_folder() as folder:
        cluster = LocalCluster(folder, SERVICES_ONLY)
        with needing_programs():
            cluster.start()
        yield cluster
        cluster.stop(clean=True)
