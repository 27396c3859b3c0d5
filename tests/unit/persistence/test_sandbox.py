"""The sandbox: what a job can do to itself must not reach the caller, except as an error that says what it was."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from persistence.errors import JobFailed, SandboxDied, SandboxMemory, SandboxTimeout, StoreClosed
from persistence.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[3]
MEMORY = 1 << 30
JOBS = "tests.unit.persistence.jobs"


async def run(
    sandbox: Sandbox, job: str, *args: str | list[bytes], seconds: float = 20.0, memory: int = MEMORY
) -> bytes:
    return await sandbox.run(job, *args, timeout=seconds, memory=memory)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    for _ in range(500):
        if not alive(pid):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(module=JOBS)
    yield sandbox
    await sandbox.close()


async def test_the_real_child_answers() -> None:
    sandbox = Sandbox()
    assert await run(sandbox, "ping") == b"pong"
    await sandbox.close()


async def test_arguments_and_results_arrive_unchanged(sandbox: Sandbox) -> None:
    parts = [b"", bytes(range(256)) * 8000, b"\0\xff"]
    assert await run(sandbox, "echo", "é", parts) == "é".encode() + b"".join(parts)


async def test_one_child_serves_many_jobs(sandbox: Sandbox) -> None:
    assert await run(sandbox, "pid") == await run(sandbox, "pid") == str(sandbox.pid).encode()


async def test_a_fresh_sandbox_has_a_child_per_job() -> None:
    sandbox = Sandbox(fresh=True, module=JOBS)
    first, second = await run(sandbox, "pid"), await run(sandbox, "pid")
    assert first != second
    assert sandbox.pid is None
    assert await gone(int(first))
    await sandbox.close()


async def test_concurrent_jobs_get_their_own_answers(sandbox: Sandbox) -> None:
    answers = await asyncio.gather(*(run(sandbox, "echo", str(n), []) for n in range(20)))
    assert answers == [str(n).encode() for n in range(20)]


async def test_a_refusal_carries_rule_and_detail_and_keeps_the_child(sandbox: Sandbox) -> None:
    before = await run(sandbox, "pid")
    with pytest.raises(JobFailed) as caught:
        await run(sandbox, "fold", [], [b"poison"])
    assert (caught.value.rule, caught.value.detail) == ("poison", "cannot be merged")
    assert await run(sandbox, "pid") == before


async def test_an_unexpected_error_is_a_refusal(sandbox: Sandbox) -> None:
    with pytest.raises(JobFailed, match="unexpected-error: KeyError"):
        await run(sandbox, "no such job")


async def test_a_panic_is_a_refusal_and_the_end_of_the_child(sandbox: Sandbox) -> None:
    before = await run(sandbox, "pid")
    with pytest.raises(JobFailed, match="panic"):
        await run(sandbox, "panic")
    assert await gone(int(before))
    assert await run(sandbox, "pid") != before


@pytest.mark.parametrize("job", ["hang", "spin"])
async def test_a_job_past_its_deadline_is_killed(sandbox: Sandbox, job: str) -> None:
    before = await run(sandbox, "pid")
    with pytest.raises(SandboxTimeout):
        await run(sandbox, job, seconds=0.2)
    assert await gone(int(before))
    assert await run(sandbox, "pid") != before


async def test_the_child_limits_its_own_cpu_time(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    job = asyncio.create_task(run(sandbox, "spin", seconds=1))
    await asyncio.sleep(0.1)  # the job is on its way
    # From here the event loop stands still, like that of a server too busy to watch its deadline.
    for _ in range(1000):
        if not alive(child):
            break
        time.sleep(0.02)  # noqa: ASYNC251
    assert not alive(child)
    with pytest.raises(SandboxTimeout):
        await job


async def test_a_job_over_its_memory_limit_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxMemory):
        await run(sandbox, "allocate", str(2 * MEMORY))
    await run(sandbox, "allocate", str(MEMORY // 4))


async def test_the_payload_counts_against_the_memory_limit(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxMemory):
        await run(sandbox, "echo", "", [b"x" * (64 << 20)] * 4, memory=128 << 20)


async def test_a_child_killed_in_a_job_is_reported_and_replaced(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    job = asyncio.create_task(run(sandbox, "hang"))
    await asyncio.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    with pytest.raises(SandboxDied, match="SIGKILL"):
        await job
    assert await run(sandbox, "echo", "on", []) == b"on"


async def test_a_child_that_died_between_jobs_does_not_fail_the_next(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    os.kill(child, signal.SIGKILL)
    assert await gone(child)
    await asyncio.sleep(0.05)
    assert await run(sandbox, "echo", "on", []) == b"on"


async def test_a_cancelled_job_takes_its_child_along(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    job = asyncio.create_task(run(sandbox, "hang"))
    await asyncio.sleep(0.05)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert await gone(child)
    assert await run(sandbox, "echo", "on", []) == b"on"


async def test_what_a_child_may_write_to_stderr_is_bounded(sandbox: Sandbox) -> None:
    with pytest.raises((JobFailed, SandboxDied)):
        await run(sandbox, "shout")


async def test_the_child_does_not_see_our_secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_JWT_SECRET", "hush")
    assert b"SYNCD_JWT_SECRET" not in await run(sandbox, "environment")


async def test_the_child_is_nicer_than_we_are(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child) == min(ours + 10, 19)


async def test_a_closed_sandbox_leaves_no_child_and_takes_no_job(sandbox: Sandbox) -> None:
    child = int(await run(sandbox, "pid"))
    await sandbox.close()
    assert await gone(child)
    with pytest.raises(StoreClosed):
        await run(sandbox, "pid")


PARENT = """
import asyncio, sys
from persistence.sandbox import Sandbox
async def main():
    sandbox = Sandbox(module="tests.unit.persistence.jobs")
    pid = await sandbox.run("pid", timeout=20, memory=1 << 30)
    print(pid.decode(), flush=True)
    await (sandbox.run("spin", timeout=600, memory=1 << 30) if sys.argv[1] == "busy" else asyncio.sleep(600))
asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_the_child_does_not_outlive_a_killed_parent(state: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, state), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert alive(child)
    await asyncio.sleep(0.1)
    parent.kill()
    await parent.wait()
    assert await gone(child)
