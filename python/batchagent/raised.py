"""Exceptions of the user's functions, of every class: Python has some that are no Exception, and extensions and test tools have more."""

from __future__ import annotations

import signal
import threading


class Raised(Exception):
    """What a function raised, in a form that an event loop takes. It refuses StopIteration, and ends after a KeyboardInterrupt or SystemExit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(type(error)))
        self.error = error


def wrapped(e: BaseException) -> Exception:
    """Return an exception that an event loop takes."""
    return e if isinstance(e, Exception) and not isinstance(e, StopIteration) else Raised(e)


def by_user(e: BaseException) -> bool:
    """Tell whether the user pressed Ctrl-C. Python reports it in the main thread only, wherever that is at the moment."""
    main = threading.current_thread() is threading.main_thread()
    return isinstance(e, KeyboardInterrupt) and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def text_of(e: BaseException) -> str:
    """Return the type and the text of an exception."""
    try:
        return f"{type(e).__name__}: {e}"
    except Exception:
        return f"{type(e).__name__}: its text cannot be shown"
