"""Publishes a release to an index on this machine, installs it from there and tries it: `try_release.py DIST VENV`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

TRY = """
import lvm_fast as lf
store = lf.sample()
run = lf.train(lf.Recipe(data="sample", model_type="gru", model={"hidden_dim": 8, "num_layers": 1}, stride=200,
                         context_length=20, epochs=1, device="cpu", output_dir="run"))
print(len(store), "chains;", lf.load_model(run.checkpoint).predict(store.vectors[:20][None]).shape)
"""


@contextmanager
def index(folder: Path) -> Iterator[str]:
    """Serve a folder as a package index on the loopback address; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = ["-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", port, "-P", ".", "-a", ".", "--disable-fallback"]
    with subprocess.Popen([sys.executable, *server, str(folder)], stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address)
            yield address
        finally:
            process.terminate()


def wait_for(address: str) -> None:
    for _ in range(150):
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"no answer from {address}")


def call(*words: str | Path, folder: Path | None = None) -> str:
    """Run a command and return what it prints; a failure ends this script."""
    print("+", *words, flush=True)
    done = subprocess.run([str(word) for word in words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main(dist: Path, place: Path) -> None:
    files = sorted(file for file in dist.iterdir() if file.suffix in (".whl", ".gz"))
    (built,) = (file for file in files if file.name.startswith("lvm_fast-") and file.suffix == ".whl")
    version = built.name.split("-")[1]
    venv.create(place, clear=True, with_pip=True)
    python, command = place / "bin" / "python", place / "bin" / "lvm-fast"
    with TemporaryDirectory() as served, TemporaryDirectory() as away:
        folder = Path(away)
        with index(Path(served)) as address:
            call(sys.executable, "-m", "twine", "upload", "-u", "-", "-p", "-", "--repository-url", address, *files)
            asked = f"lvm-fast[sample]=={version}"
            call(python, "-m", "pip", "install", "--quiet", "--extra-index-url", f"{address}/simple/", asked)
        assert call(command, "-V", folder=folder).strip() == f"lvm-fast {version}"
        print(call(command, "info", folder=folder))
        found = call(command, "search", "--data", "sample", "--chunk", "35400", "-k", "1", "--json", folder=folder)
        assert '"text": "' in found, "the release lacks the texts of the sample"
        tried = call(python, "-c", TRY, folder=folder)
        assert tried.endswith("120 chains; (1, 768)\n"), tried
        print("lvm-fast", version, "works from an index")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
