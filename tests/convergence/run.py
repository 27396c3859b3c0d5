"""`python -m tests.convergence.run --histories 100000 --seed 1`: many histories, exit 1 if one came out different.

--jobs N     processes, each with its own Node
--batch N    histories side by side
--size N     most steps of an ordinary history
--only SEED  one history again, shortened when it fails
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.convergence.histories import Failure, check, shorten
from tests.oracle.oracle import Oracle


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _work(job: tuple[list[list[str]], int]) -> Iterator[tuple[int, int, list[Failure]]]:
    batches, size = job
    with Oracle() as oracle:
        for seeds in batches:
            updates, failures = check(oracle, seeds, size)
            yield len(seeds), updates, [shorten(oracle, failure, size) for failure in failures[:3]] + failures[3:]


def _collect(job: tuple[list[list[str]], int]) -> list[tuple[int, int, list[Failure]]]:
    return list(_work(job))


def _results(batches: list[list[str]], jobs: int, size: int) -> Iterator[tuple[int, int, list[Failure]]]:
    if jobs == 1:
        yield from _work((batches, size))
        return
    share = 10  # batches per task: a Node process is started for each
    tasks = [(batches[at : at + share], size) for at in range(0, len(batches), share)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for results in pool.imap_unordered(_collect, tasks):
            yield from results


def main(arguments: list[str] | None = None) -> int:
    """Run, print progress and the result; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--only")
    options = parser.parse_args(arguments)
    seeds = [options.only] if options.only else [f"{options.seed}-{index}" for index in range(options.histories)]
    batches = [seeds[at : at + options.batch] for at in range(0, len(seeds), options.batch)]
    started = time.monotonic()
    done = updates = 0
    failed: list[Failure] = []
    for count, emitted, failures in _results(batches, options.jobs, options.size):
        done += count
        updates += emitted
        failed += failures
        for failure in failures:
            _say(str(failure))
        if done % (options.batch * 25) < count:
            _say(f"{done} histories, {len(failed)} different, {done / (time.monotonic() - started):.0f}/s")
    seconds = time.monotonic() - started
    _say(
        f"seed {options.seed}: {done} histories, {updates} updates, {len(failed)} different, {seconds:.0f} s"
        + "".join(f"\nfailed: --size {options.size} --only {failure.seed}" for failure in failed)
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
