"""What Core AI export says where it cannot work: one sentence, with what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path

import pytest

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.export.coreai.requirements import check_machine, check_version
from lvm_fast.models.base import LatentVectorModel


@pytest.mark.parametrize("version", ["0.4.2", "0.3", "0.5.0", "1.0b1"])
def test_another_version_of_the_converter_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(ImportError, match=rf"coreai-torch 0\.4\.3 or a later 0\.4, found {version}: pip install"):
        check_version()


@pytest.mark.parametrize("version", ["0.4.3", "0.4.10", "0.4.3.post1"])
def test_versions_that_work_are_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    check_version()


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 15, 0)])
def test_another_python_is_refused(version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(platform, "python_version", lambda: ".".join(map(str, version)))
    with pytest.raises(ImportError, match=rf"needs Python 3\.11 to 3\.14, found 3\.{version[1]}\."):
        check_machine()


def test_an_old_glibc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    with pytest.raises(ImportError, match=r"needs glibc 2\.34, found 2\.31"):
        check_machine()


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Apple's packages were not installed."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    for module in [name for name in sys.modules if name.startswith("lvm_fast.export.coreai.")]:
        if module.rpartition(".")[2] in ("apple", "asset", "convert", "metadata", "runtime", "widen", "batched"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))


@pytest.mark.usefixtures("without_packages")
def test_export_says_how_to_install_what_is_missing(small: LatentVectorModel, tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"which is not installed: pip install 'lvm_fast\[coreai\]'"):
        lf.export_coreai(small, tmp_path / "m.aimodel", contexts=(3,))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_packages")
def test_without_the_runtime_nothing_is_verified(
    small: LatentVectorModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImportError, match="nothing was verified: Core AI export needs"):
        lf.verify_coreai(tmp_path / "m.aimodel", small)
    small.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "m.aimodel").mkdir()
    assert main(["verify", str(tmp_path / "saved" / "m.aimodel")]) == 3
    said = capsys.readouterr()
    assert "nothing was verified" in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out
