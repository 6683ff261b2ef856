"""Work that is given to other threads: how a caller names them, and jobs that must run there in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

#: Runs a function on a worker, as `concurrent.futures.Executor.submit` does.
Submit = Callable[..., "Future[Any]"]


class SerialExecutor:
    """Runs jobs one after the other on workers of ``submit`` while the caller goes on, without a thread of its own.

    `put` blocks while more than ``depth`` jobs have not ended. After the first exception no job runs any more; `put`
    and `drain` raise it. Without ``submit`` jobs run at once, in `put`. A caller that waits for a job which no worker
    has begun runs it itself, so that a full pool cannot lock up.
    """

    def __init__(self, submit: Submit | None, depth: int = 4) -> None:
        self._submit = submit
        self._depth = depth
        self._jobs: deque[Callable[[], None]] = deque()
        self._guard = threading.Lock()
        self._next: Future[None] | None = None
        """Runs the first of ``_jobs``; None when there are none."""
        self._failure: BaseException | None = None

    def put(self, job: Callable[[], None]) -> None:
        """Adds a job. Raises what a job has raised."""
        if self._submit is None:
            job()
            return
        with self._guard:
            self._jobs.append(job)
            if self._next is None:
                self._next = self._submit(self._run_first)
        self._wait(self._depth)

    def drain(self) -> None:
        """Returns when every job has run. Raises what a job has raised."""
        self._wait(0)

    def _wait(self, depth: int) -> None:
        """Returns when at most ``depth`` jobs have not ended."""
        while len(self._jobs) > depth and (first := self._next) is not None:
            if first.cancel():
                self._run_first()
            else:
                first.result()
        if self._failure is not None:
            raise self._failure

    def _run_first(self) -> None:
        if self._failure is None:
            try:
                self._jobs[0]()
            except BaseException as error:
                self._failure = error
        with self._guard:
            self._jobs.popleft()
            self._next = self._submit(self._run_first) if self._jobs and self._submit is not None else None
