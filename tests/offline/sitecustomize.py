"""Cuts the network: imported by every Python process that the tests start, and by `tests/conftest.py`.

A look-up or a connection beyond this machine fails as it does when the cable is out. It is also written into
the file that VITRAIL_TEST_LEDGER names, and fails the test: code that copes well swallows the exception.
"""

import errno
import os
import sys

_CONNECT = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOK_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def _host(event, arguments):
    """Return the host that the event is about, or None when there is none (a Unix socket)."""
    if event in _LOOK_UP:
        return arguments[0]
    if event in _CONNECT and isinstance(arguments[1], tuple):
        return arguments[1][0]
    return None


def _is_here(host):
    host = host.decode() if isinstance(host, bytes) else host
    return host in {"", "localhost", "::1", os.uname().nodename} or host.startswith("127.")


def _refuse(event, arguments):
    host = _host(event, arguments)
    if host is None or _is_here(host):
        return
    ledger = os.environ.get("VITRAIL_TEST_LEDGER")
    if ledger:
        with open(ledger, "a") as file:  # noqa: PTH123 (pathlib would slow the start of every child)
            file.write(f"{os.environ.get('PYTEST_CURRENT_TEST', 'outside a test')}: {event} {host}\n")
    raise OSError(errno.ENETUNREACH, "The tests run without a network", host)


sys.addaudithook(_refuse)
