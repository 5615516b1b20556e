import os
import signal
import subprocess
import sys

import pytest

from vitrail.run.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_only_noted(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_the_second_leaves_at_once():
    code = (
        "import os, signal, time\nfrom vitrail.run.interrupt import Interrupt\n"
        "with Interrupt():\n    for _ in range(2):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 128 + signal.SIGTERM
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
