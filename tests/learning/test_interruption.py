"""What a run shares among its trainings, and how it listens to signals."""

import os
import signal
import threading

import pytest

from malaria_kedro.learning.interruption import EXIT_UNFINISHED, RunState, UnfinishedError


def test_an_unfinished_training_has_its_own_exit_code():
    assert UnfinishedError("to be continued").exit_code == EXIT_UNFINISHED == 75
    assert str(UnfinishedError("to be continued", 143)) == "to be continued"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_are_put_back(number):
    run, before = RunState(), signal.getsignal(number)
    with run.listening():
        os.kill(os.getpid(), number)
        assert run.signal == number
        assert signal.getsignal(number) == before  # a second one acts as ever
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = RunState()
        with run.listening():
            os.kill(os.getpid(), signal.SIGINT)
        assert run.signal is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_nothing_is_changed():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with RunState().listening():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
