"""One at a time, in the order in which they came."""

import threading
import time

import pytest

from app.engine.turns import Turns


def until(condition: object) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_first_come_first_served() -> None:
    turns, order, inside = Turns(), list[int](), list[int]()
    standing = list[int]()

    def work(number: int) -> None:
        with turns.take(lambda before: standing.append(before) if number == 3 else None):
            inside.append(number)
            assert len(inside) == 1, "two at once"
            time.sleep(0.01)
            inside.remove(number)
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with turns.take():
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda number=number: len(turns._line) == number + 2)
        until(lambda: standing)
        assert standing[0] == 4, "three others, and whoever is at work"
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3]


def test_whoever_gives_up_leaves_the_line() -> None:
    turns, done = Turns(), threading.Event()

    def leave(before: int) -> None:
        raise KeyError("enough")

    with turns.take():
        with pytest.raises(KeyError), turns.take(leave):
            pytest.fail("it was not its turn")
        other = threading.Thread(target=lambda: next(iter([turns.take().__enter__(), done.set()])))
        other.start()
        assert not done.wait(0.1)
    assert done.wait(20), "the next one comes in"
    other.join(20)
