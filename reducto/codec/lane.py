"""Work that must happen in order, beside the caller, without a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from reducto.recipe import Submit


class Lane:
    """Runs jobs one after the other on workers of ``submit``; at most ``depth`` wait, then `put` blocks.

    The first exception stops the lane; `put` and `drain` raise it. Without ``submit`` jobs run at once, in `put`.
    A job that waits while no worker is free is run by the caller itself, so a full pool cannot lock up.
    """

    def __init__(self, submit: Submit | None, depth: int = 3) -> None:
        self._submit = submit
        self._depth = depth
        self._jobs: deque[Callable[[], None]] = deque()
        self._state = threading.Condition()
        self._running = False
        self._failure: BaseException | None = None

    def put(self, job: Callable[[], None]) -> None:
        """Adds a job."""
        if self._submit is None:
            job()
            return
        with self._state:
            self._jobs.append(job)
            start = not self._running and len(self._jobs) == 1
        if start:
            self._submit(self._run)
        self._help(self._depth)

    def drain(self) -> None:
        """Returns when every job has run."""
        self._help(0)
        with self._state:
            self._state.wait_for(lambda: not self._running)
        self._raise()

    def _help(self, depth: int) -> None:
        """Runs jobs here, or waits for the worker that does, until at most ``depth`` are left."""
        while True:
            with self._state:
                if len(self._jobs) <= depth:
                    break
                if self._running:
                    self._state.wait_for(lambda: not self._running or len(self._jobs) <= depth)
                    continue
            self._run()
        self._raise()

    def _run(self) -> None:
        with self._state:
            if self._running:
                return
            self._running = True
        try:
            while True:
                with self._state:
                    if not self._jobs:
                        return
                    job = self._jobs.popleft()
                    self._state.notify_all()
                if self._failure is None:
                    try:
                        job()
                    except BaseException as error:
                        self._failure = error
        finally:
            with self._state:
                self._running = False
                self._state.notify_all()
                again = bool(self._jobs)
            if again and self._submit is not None:
                self._submit(self._run)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
