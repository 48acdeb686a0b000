"""Two names of a file system that change places in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_HERE = -100  # AT_FDCWD: paths are those of the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def exchange(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Let two files or folders change names, so that neither name is ever without one.

    Returns:
        Whether they did: some systems and file systems cannot, and then nothing has changed.

    Raises:
        OSError: One of them is missing, or may not be renamed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _EXCHANGE)
    elif sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    else:
        return False
    error = ctypes.get_errno()
    if failed and error not in _CANNOT:
        raise OSError(error, os.strerror(error), os.fspath(one), None, os.fspath(other))
    return not failed
