"""A queue between two threads that never grows beyond its capacity."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Generic, Literal, TypeVar, get_args

from fluoropose._checks import whole_positive
from fluoropose.errors import InputError

__all__ = ["BoundedQueue", "Policy"]

Policy = Literal["latest", "every"]
T = TypeVar("T")
# A signal just before the main thread falls asleep does not wake it: its handler runs when it wakes by itself.
_HEEDED_S = 0.1


class BoundedQueue(Generic[T]):
    """A queue that says what happens when it is full.

    Parameters
    ----------
    capacity
        Most items that wait.
    policy
        "latest": the oldest item is dropped and counted, and the one who puts never waits. "every": the one who puts
        waits until there is room.
    """

    def __init__(self, capacity: int, policy: Policy) -> None:
        if policy not in get_args(Policy):
            raise InputError(f'policy: expected "latest" or "every", found {policy!r}')
        self._capacity, self._policy = whole_positive("capacity", capacity), policy
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Add an item; on a closed queue it is dropped and counted.

        Returns False, without having added it, where there was no room for ``timeout_s``.
        """
        with self._changed:
            if self._policy == "every" and not self._changed.wait_for(
                lambda: self._closed or len(self._items) < self._capacity, timeout_s
            ):
                return False
            if self._closed:
                self.dropped += 1
                return True
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Wait for the oldest item and take it; None when the queue is closed and empty."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._closed or bool(self._items), _HEEDED_S):
                pass
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Accept no more items; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
