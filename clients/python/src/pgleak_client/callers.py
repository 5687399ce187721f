"""Which line of the application is running: the innermost frame that belongs to no library.

Statements ask for one line, checkouts for the whole stack. Both run on every request, so they only walk the frames: what a
file is and what a line says is found out once, or when somebody reads it.
"""

from __future__ import annotations

import dis
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Optional

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "manage.py", ".git")
_INTERACTIVE = ("<stdin>", "<console>", "<ipython-input", "<python-input")
_PACKAGES = ("/site-packages/", "/dist-packages/")
_LIBRARIES = tuple(
    os.path.join(os.path.abspath(path), "")
    for path in {os.path.dirname(__file__), *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))}
)
_MOST_FRAMES = 150
_MOST_SITES = 10_000

_root: Optional[str] = None
_skipped: tuple[str, ...] = ()


def configure(root: Optional[str] = None, skip: Iterable[str] = ()) -> None:
    """Says what the application's code is; not needed unless the companion guesses wrong.

    `root` is the directory that paths are shown relative to; it also makes code in it the application's where it is installed
    in site-packages. The guess is the nearest directory above a file that has a pyproject.toml, setup.py, setup.cfg, manage.py
    or .git, else the working directory. `skip` names files or directories below the root whose frames are passed over, such as
    "app/db.py", the helper through which all statements go. Call it before the first statement. Raises nothing.
    """
    global _root, _skipped
    _root = os.path.join(os.path.abspath(root), "") if root else None
    _skipped = tuple(path.rstrip("/") for path in skip)
    _files.clear()
    _sites.clear()


class _Files(dict[str, str]):
    """File name of a code object -> path relative to the project's root; empty for a library's."""

    def __missing__(self, filename: str) -> str:
        path = self[filename] = _project_path(filename)
        return path


def _project_path(filename: str) -> str:
    if filename.startswith("<"):
        return filename if filename.startswith(_INTERACTIVE) else ""
    path = os.path.abspath(filename)
    if _root and path.startswith(_root):
        relative = path[len(_root):].replace(os.sep, "/")
        return "" if _is_packaged("/" + relative) or _is_skipped(relative) else relative
    if path.startswith(_LIBRARIES) or _is_packaged(path.replace(os.sep, "/")):
        return ""
    relative = os.path.relpath(path, _project_root(path)).replace(os.sep, "/")
    return "" if _is_skipped(relative) else relative


def _is_packaged(path: str) -> bool:
    return any(packages in path for packages in _PACKAGES)


def _is_skipped(relative: str) -> bool:
    return any(relative == skipped or relative.startswith(skipped + "/") for skipped in _skipped)


def _project_root(path: str) -> str:
    directory = os.path.dirname(path)
    while True:
        if any(os.path.exists(os.path.join(directory, name)) for name in _PROJECT_FILES):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    here = os.getcwd()
    return here if path.startswith(os.path.join(here, "")) else os.path.dirname(path)


_files = _Files()
_sites: dict[tuple[str, int, str], str] = {}


def project_name() -> str:
    """A name for the application where nothing gives it one: that of its project's directory. Raises nothing; 10 us."""
    root = _root or _project_root(os.path.join(os.getcwd(), "x"))
    return os.environ.get("OTEL_SERVICE_NAME") or os.path.basename(root.rstrip(os.sep)) or "python"


def call_site() -> str:
    """The application's line, as "app/orders.py:42 get_orders"; empty if only libraries are running.

    Costs 0.1 us for each frame of a library that it passes. Raises nothing.
    """
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        path = _files[frame.f_code.co_filename]
        if path:
            return _site(path, frame.f_lineno, frame.f_code)
        frame = frame.f_back
    # The rest is rare: an event loop's call of nobody's, or SQLAlchemy's greenlets.
    for frame in _waiting_frames():
        if path := _files[frame.f_code.co_filename]:
            return _site(path, frame.f_lineno, frame.f_code)
    return ""


def _site(path: str, line: int, code: CodeType) -> str:
    key = (path, line, code.co_name)
    site = _sites.get(key)
    if site is None:
        if len(_sites) >= _MOST_SITES:  # code that is generated anew all the time
            _sites.clear()
        site = _sites[key] = f"{path}:{line} {_name(code)}"
    return site


def _name(code: CodeType) -> str:
    """The qualified name from Python 3.11 on, the name before."""
    name: str = getattr(code, "co_qualname", code.co_name)
    return name.replace(".<locals>", "")


def _waiting_frames() -> Iterator[FrameType]:
    """Those who wait for the current greenlet, in which SQLAlchemy's asyncio extension runs; none outside of greenlets."""
    if "greenlet" not in sys.modules:
        return
    greenlet = sys.modules["greenlet"].getcurrent().parent
    while greenlet is not None:
        frame = greenlet.gr_frame
        while frame is not None:
            yield frame
            frame = frame.f_back
        greenlet = greenlet.parent


class Stack:
    """The frames of a moment, without what they refer to: no variable is kept alive, and no source is read before it is shown."""

    __slots__ = ("_codes", "_offsets")

    def __init__(self) -> None:
        """Takes the stack of the caller: 0.1 us for each frame. Raises nothing."""
        # Two lists, not one of pairs: each pair would be an object more for the garbage collector to look at.
        self._codes: list[CodeType] = []
        self._offsets: list[int] = []
        add_code, add_offset = self._codes.append, self._offsets.append
        frame: Optional[FrameType] = sys._getframe(1)
        while frame is not None:
            add_code(frame.f_code)
            add_offset(frame.f_lasti)
            frame = frame.f_back
        for frame in _waiting_frames():
            add_code(frame.f_code)
            add_offset(frame.f_lasti)

    def _places(self) -> list[tuple[CodeType, int]]:
        return list(zip(self._codes, self._offsets))[:_MOST_FRAMES]

    def lines(self) -> list[str]:
        """The application's lines, innermost first, each as "app/orders.py:42 get_orders". Raises nothing."""
        return [_site(path, _line(code, at), code) for code, at in self._places() if (path := _files[code.co_filename])]

    def site(self) -> str:
        """The innermost of the lines; empty if there is none. Raises nothing."""
        return next(iter(self.lines()), "")

    def format(self) -> str:
        """The stack as Python's tracebacks show it, with frames of libraries counted only. Reads source files; raises nothing."""
        text: list[str] = []
        libraries = 0
        for code, at in reversed(self._places()):
            path = _files[code.co_filename]
            if not path:
                libraries += 1
                continue
            text += _library_frames(libraries)
            libraries = 0
            line = _line(code, at)
            text.append(f'  File "{path}", line {line}, in {_name(code)}')
            if source := linecache.getline(code.co_filename, line).strip():
                text.append(f"    {source}")
        return "\n".join(text + _library_frames(libraries))


def _library_frames(count: int) -> list[str]:
    return [f"  ... {count} frame{'s' if count > 1 else ''} of libraries"] if count else []


def _line(code: CodeType, at: int) -> int:
    line = code.co_firstlineno
    for start, number in dis.findlinestarts(code):
        if start > at:
            break
        line = number or line
    return line
