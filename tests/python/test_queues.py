"""Queues between threads, with either policy."""

from __future__ import annotations

import signal
import time
from threading import Event, Thread, Timer, get_ident
from types import FrameType

import pytest

from fluoropose.errors import InputError
from fluoropose.streaming.queues import BoundedQueue


def test_the_latest_items_stay() -> None:
    queue: BoundedQueue[int] = BoundedQueue(3, "latest")
    for k in range(10):
        queue.put(k)
    assert queue.dropped == 7
    assert [queue.get() for _ in range(3)] == [7, 8, 9]


def test_every_item_arrives_in_order_through_a_slow_reader() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, "every")
    longest = 0

    def fill() -> None:
        nonlocal longest
        for k in range(50):
            queue.put(k)
            longest = max(longest, len(queue))
        queue.close()

    thread = Thread(target=fill)
    thread.start()
    found = []
    while (item := queue.get()) is not None:
        time.sleep(0.001)
        found.append(item)
    thread.join()
    assert found == list(range(50))
    assert queue.dropped == 0
    assert longest <= 2


def test_closing_wakes_who_waits() -> None:
    empty: BoundedQueue[int] = BoundedQueue(1, "every")
    full: BoundedQueue[int] = BoundedQueue(1, "every")
    full.put(1)
    threads = [Thread(target=empty.get), Thread(target=full.put, args=(2,))]
    for thread in threads:
        thread.start()
    empty.close()
    full.close()
    for thread in threads:
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert full.dropped == 1
    assert full.get() == 1
    assert full.get() is None


def test_waiting_for_room_has_an_end() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, "every")
    assert queue.put(1, timeout_s=0.01)
    assert not queue.put(2, timeout_s=0.01)
    assert queue.get() == 1


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match='policy: expected "latest" or "every", found \'some\''):
        BoundedQueue(1, "some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="capacity"):
        BoundedQueue(0, "every")


def test_whoever_waits_heeds_a_signal_that_did_not_wake_it() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, "latest")
    heard = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        heard.set()
        queue.close()

    before = signal.signal(signal.SIGUSR1, handle)
    rescue = Timer(5.0, queue.close)
    rescue.start()
    # Another thread takes the signal, as a program's may; the handler is for the main thread all the same.
    taker = Timer(0.2, lambda: signal.pthread_kill(get_ident(), signal.SIGUSR1))
    taker.start()
    begun = time.monotonic()
    try:
        assert queue.get() is None
        assert heard.is_set()
        assert time.monotonic() - begun < 4.0
    finally:
        rescue.cancel()
        for timer in (rescue, taker):
            timer.join()
        signal.signal(signal.SIGUSR1, before)
