"""A progress bar, in a terminal or in a notebook."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

_EVERY = 0.1
_BAR = 24


class Progress:
    """Counts results and shows them. ``total`` is None while it is unknown."""

    def __init__(self, name: str, total: int | None, shown: bool | None) -> None:
        self._name = name
        self._total = total
        self._ok = self._failed = 0
        self._began = time.monotonic()
        self._last = 0.0
        notebook = _notebook()
        self._handle: Any = None
        if shown is None:
            shown = notebook or sys.stderr.isatty()
        self._show = (self._show_html if notebook else self._show_line) if shown else None

    def add(self, ok: int, failed: int) -> None:
        self._ok += ok
        self._failed += failed
        if self._show is not None and time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            self._show()

    def close(self) -> None:
        if self._show is not None:
            self._show()
            if self._handle is None:
                print(file=sys.stderr)

    def text(self) -> str:
        done = self._ok + self._failed
        spent = max(time.monotonic() - self._began, 1e-3)
        parts = [f"{self._name}  {done:,}"]
        if self._total:
            part = done / self._total
            filled = int(part * _BAR)
            parts = [f"{self._name}  {part:4.0%} |{'█' * filled}{' ' * (_BAR - filled)}| {done:,}/{self._total:,}"]
        if self._failed:
            parts.append(f"failed {self._failed:,}")
        parts.append(f"{done / spent:.1f}/s")
        if self._total and 0 < done < self._total:
            parts.append(f"ETA {_span((self._total - done) * spent / done)}")
        return "  ".join(parts)

    def _show_line(self) -> None:
        print(f"\r\x1b[K{self.text()}", end="", file=sys.stderr, flush=True)

    def _show_html(self) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]

        done = self._ok + self._failed
        bar = f'<progress value="{done}" max="{self._total}"></progress> ' if self._total else ""
        shown = HTML(f"<div>{bar}<code>{html.escape(self.text())}</code></div>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def _notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _span(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{s:02}s" if minutes else f"{s}s"
