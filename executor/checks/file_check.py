"""`checks.file("/srv/reports/{key}.pdf")`: a file that exists once, and whole, or not at all.

If the effect *is* a file (`write`, `open`): it is written under another name, flushed to the disk, and given its own name by an exclusive
link. So it is there or it is not, and of two attempts one is refused, however late it comes.

If the effect is something else that cannot be asked (`once`): a file `NAME.begun` is made before it, exclusively, and renamed to its
final name after it. Done, or not begun, can be told; begun and not ended cannot, so that is UNKNOWN. This too excludes a late attempt.

Fencing both. The folder must be one that all nodes see, and must exist: a folder that is not there may be a disk that is not mounted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from executor.checks.identity import identity, require_scope
from executor.checks.trouble import unknown
from executor.context import Context
from executor.errors import AlreadyMarked, HandlerError
from executor.task import Answer, CheckResult

ATTEMPTS_TIDIED_MAX = 100


class FileCheck:
    """`path` is absolute and has `{key}` in its last part."""

    is_fencing = True
    settle_s = 0.0

    def __init__(self, path: str | os.PathLike[str], *, scope: str = "") -> None:
        template = Path(path)
        if not template.is_absolute():
            raise HandlerError(
                f"checks.file({str(path)!r}): give an absolute path; a relative one is another file elsewhere"
            )
        if "{key}" not in template.name or "{key}" in str(template.parent):
            raise HandlerError(
                f"checks.file({str(path)!r}): the file's own name, and only it, needs {{key}}: a name shared by "
                "tasks would take one for another"
            )
        self._template = template
        self._scope = require_scope(scope)

    def __repr__(self) -> str:
        return f"checks.file({str(self._template)!r}, scope={self._scope!r})"

    def path(self, context: Context) -> Path:
        """The final file of this task."""
        return self._template.with_name(self._template.name.replace("{key}", identity(context, self._scope)))

    def write(self, context: Context, data: bytes) -> Path:
        """The whole result at once; its path. Raises AlreadyMarked if another attempt was faster: let it pass."""
        with self.open(context) as file:
            file.write(data)
        return self.path(context)

    @contextmanager
    def open(self, context: Context) -> Iterator[BinaryIO]:
        """A new file to write the result to; it gets its final name when the block ends, and vanishes if the block raises."""
        final = self.path(context)
        if final.exists():
            raise AlreadyMarked(f"{final} exists already")
        part = _part(final, context.attempt)
        try:
            # An attempt number is given out once, so what stands here is nobody's.
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _link(part, final)
        finally:
            part.unlink(missing_ok=True)
        for attempt in range(max(1, context.attempt - ATTEMPTS_TIDIED_MAX), context.attempt):
            _part(final, attempt).unlink(missing_ok=True)

    @contextmanager
    def once(self, context: Context) -> Iterator[None]:
        """Around an effect that leaves no trace: at most one attempt ever enters the block.

        Raises AlreadyMarked if another has. If the block raises, the begun mark stays, as the effect may have happened; call `withdraw`
        where you know that it has not.
        """
        final = self.path(context)
        begun = _begun(final)
        self._put(context, begun)
        if final.exists():
            begun.unlink(missing_ok=True)
            raise AlreadyMarked(f"{final} exists already")
        yield
        try:
            begun.rename(final)
            _sync_folder(final)
        except FileNotFoundError:  # withdrawn, or removed by hand: still it was done
            self._put(context, final)

    def withdraw(self, context: Context) -> None:
        """Surely nothing has happened in the block of `once`: another attempt may enter it. Only this attempt's own mark goes."""
        begun = _begun(self.path(context))
        if begun.exists() and begun.read_text() == _text(context):
            begun.unlink()
            _sync_folder(begun)

    def __call__(self, context: Context, /, *args: object, **kwargs: object) -> CheckResult:
        """DONE if the final file is there; UNKNOWN if it was begun, or if the folder cannot be looked into."""
        final = self.path(context)
        begun = _begun(final)
        try:
            os.stat(final.parent)
            # First begun, then final: between the two looks it can only move from the one name to the other.
            is_begun = _exists(begun)
            is_done = _exists(final)
        except OSError as error:
            return unknown(f"{final.parent} cannot be looked into; is it mounted?", error)
        if is_done:
            return CheckResult(Answer.DONE, f"{final} exists")
        if is_begun:
            return CheckResult(
                Answer.UNKNOWN,
                f"begun and not ended; if nothing has happened, remove {begun} and let it run again",
            )
        return CheckResult(Answer.NOT_DONE, f"{final} does not exist")

    def _put(self, context: Context, target: Path) -> None:
        """A mark of this attempt under this name; raises AlreadyMarked if the name is taken."""
        part = _part(target, context.attempt)
        try:
            with part.open("w") as file:
                file.write(_text(context))
                file.flush()
                os.fsync(file.fileno())
            _link(part, target)
        finally:
            part.unlink(missing_ok=True)


def _text(context: Context) -> str:
    return f"attempt {context.attempt}\n"


def _begun(final: Path) -> Path:
    return final.with_name(final.name + ".begun")


def _part(final: Path, attempt: int) -> Path:
    return final.with_name(f".{final.name}.{attempt:d}.part")


def _link(part: Path, final: Path) -> None:
    """Gives the file its name for good, if nobody has it; on the disk when this returns."""
    try:
        os.link(part, final)
    except FileExistsError:
        if not _is_same(part, final):  # else the answer to the first try was lost on the way, as NFS can do
            raise AlreadyMarked(f"{final} exists already: another attempt of this task was faster") from None
    except FileNotFoundError:
        if final.exists():  # a later attempt has tidied up behind us
            raise AlreadyMarked(f"{final} exists already: another attempt of this task was faster") from None
        raise
    _sync_folder(final)


def _is_same(part: Path, final: Path) -> bool:
    try:
        return part.samefile(final)
    except FileNotFoundError:  # in this moment it was renamed, from begun to done
        return False


def _exists(path: Path) -> bool:
    """Unlike Path.exists, trouble is no "no"."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
