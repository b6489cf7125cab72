"""Asking a policy under a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

from deployment.field.pilot import Answer, Policy, Row


class Inference:
    """Runs a policy in a thread of its own, so that one that hangs stops nothing else."""

    def __init__(self, policy: Policy, deadline_s: float) -> None:
        self._policy, self._deadline_s = policy, deadline_s
        self._working: threading.Thread | None = None

    async def __call__(self, inputs: Row) -> Answer:
        """The policy's answer, or why there is none."""
        if self._working is not None and self._working.is_alive():
            return Answer(0.0, failure="the policy still works on an earlier question")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not done.done():
                done.set_result(answer)

        def work() -> None:
            answer = ask(self._policy, inputs)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by then
                loop.call_soon_threadsafe(settle, answer)

        self._working = threading.Thread(target=work, daemon=True, name="policy")
        began = time.monotonic()
        self._working.start()
        try:
            return await asyncio.wait_for(done, self._deadline_s)
        except TimeoutError:
            return Answer(round(time.monotonic() - began, 6), failure="the policy gave no answer within the deadline")


def ask(policy: Policy, inputs: Row) -> Answer:
    """One inference, timed; whatever it raises becomes a failure."""
    began = time.monotonic()
    try:
        scores, phase = policy(inputs)
    except Exception as error:
        return Answer(round(time.monotonic() - began, 6), failure=f"the policy failed: {error}")
    return Answer(round(time.monotonic() - began, 6), scores, phase)
