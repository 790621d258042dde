"""Work in steps: all of it is done, in order, and none of it keeps its caller waiting."""

import time

import pytest

from GANSynthesisLib.steps import ALONE, SLICE, Steps, run_through


def counting(count: int, done: list, seconds: float = 0.0):
    for number in range(count):
        time.sleep(seconds)
        done.append(number)
        yield
    return count


def test_steps_run_through_give_what_they_return():
    done = []
    assert run_through(counting(5, done)) == 5 and done == [0, 1, 2, 3, 4]


def test_few_short_steps_are_done_at_once_and_long_ones_one_at_a_time():
    done = []
    steps = Steps(counting(5, done))
    assert steps.advance() and steps.result == 5 and len(done) == 5
    done.clear()
    steps = Steps(counting(3, done, seconds=2 * SLICE))
    assert not steps.advance() and done == [0] and steps.result is None
    assert not steps.advance() and done == [0, 1]
    steps.advance()
    assert steps.advance() and steps.result == 3
    assert steps.advance() and len(done) == 3, "nothing is done twice"


def test_a_long_step_is_not_done_together_with_those_before_it():
    def announced():
        yield ALONE
        done.append("long")

    done = []
    steps = Steps(announced())
    assert not steps.advance() and done == []
    assert steps.advance() and done == ["long"]


def test_what_a_step_raises_ends_the_steps():
    def failing():
        yield
        raise ValueError("no")

    steps = Steps(failing())
    with pytest.raises(ValueError, match="no"):
        while not steps.advance():
            pass
    assert steps.done and steps.result is None
