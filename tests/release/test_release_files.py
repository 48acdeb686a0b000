"""What a release is made of: the page of the index, the version, what the wheel says it holds."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import lvm_fast as lf
from lvm_fast import _core

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    path = ROOT / ".ci" / f"{name}.py"
    if not path.exists():
        pytest.skip("an sdist has no .ci")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = "A [page](docs/a.md#b), [out](https://a.b/c), [here](#top).\n\n![A picture](docs/x.svg)\n\nEnd ![p](https://a.b/p.png)"


def test_without_an_address_the_index_page_has_words_alone():
    page = script("release_tree").for_an_index(PAGE, "", "1.2.3")
    assert page == "A page, [out](https://a.b/c), [here](#top).\n\nEnd ![p](https://a.b/p.png)"


def test_with_an_address_links_lead_to_the_released_version():
    page = script("release_tree").for_an_index(PAGE, "https://x.y/o/r", "1.2.3")
    assert page == (
        "A [page](https://x.y/o/r/blob/v1.2.3/docs/a.md#b), [out](https://a.b/c), [here](#top).\n\n"
        "![A picture](https://x.y/o/r/raw/v1.2.3/docs/x.svg)\n\nEnd ![p](https://a.b/p.png)"
    )


@pytest.mark.parametrize("repository", ["", "https://x.y/o/r"])
def test_the_readme_of_a_release_has_whole_addresses_alone(repository):
    page = script("release_tree").for_an_index((ROOT / "README.md").read_text(encoding="utf-8"), repository, "1.2.3")
    targets = re.findall(r"\]\(([^)]*)\)", page)
    assert bool(targets) == bool(repository)
    assert all(target.startswith("https://") for target in targets)


VERSION = '__version__ = "1.2.3"\n'


@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        ("v1.2.3", "# Changelog\n\n## 1.2.3 (2026-11-28)\n\n## 1.2.2 (2026-01-01)", None),
        ("v1.2.4", "## 1.2.4 (2026-11-28)", "the tag is v1.2.4, _version.py says 1.2.3"),
        (
            "v1.2.3",
            "## 1.2.3 (unreleased)",
            "begins with '1.2.3 (unreleased)'; expected '1.2.3 (YYYY-MM-DD)'",
        ),
        (
            "v1.2.3",
            "## 1.2.2 (2026-01-01)",
            "begins with '1.2.2 (2026-01-01)'; expected '1.2.3 (YYYY-MM-DD)'",
        ),
    ],
)
def test_a_tag_is_released_only_with_its_version_and_its_changes(tag, changelog, said):
    found = script("check_version").mistake(tag, VERSION, changelog)
    assert found is None if said is None else found.endswith(said)


def test_the_installed_package_lists_what_it_is_made_of():
    (listed,) = (file for file in distribution("lvm_fast").files or [] if file.name == "lvm_fast.cdx.json")
    described = json.loads(listed.read_text())
    assert (described["bomFormat"], described["specVersion"]) == ("CycloneDX", "1.6")
    assert described["metadata"]["component"]["purl"] == f"pkg:pypi/lvm-fast@{lf.__version__}"
    (part,) = described["components"]
    assert part["name"] == "pybind11"
    assert re.fullmatch(r"3\.\d+\.\d+", part["version"])


def test_every_action_of_the_workflows_is_pinned_to_a_commit():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("an sdist has no .github")
    used = [name for file in workflows for name in re.findall(r"uses: (\S+)", file.read_text(encoding="utf-8"))]
    outside = [name for name in used if not name.startswith("./")]
    assert len(outside) > 10
    assert [name for name in outside if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="needs Python 3.13")
def test_the_core_leaves_a_free_threaded_python_free():
    assert _core.__name__ == "lvm_fast._core"
    built_free = "t" in getattr(sys, "abiflags", "")
    assert sys._is_gil_enabled() is not built_free  # type: ignore[attr-defined]


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    jinja2 = pytest.importorskip("jinja2")
    path = ROOT / ".ci" / "conda" / "meta.yaml"
    if not path.exists():
        pytest.skip("an sdist has no .ci")
    version_file = (ROOT / "lvm_fast" / "_version.py").read_text(encoding="utf-8")
    text = jinja2.Template(path.read_text(encoding="utf-8")).render(
        load_file_regex=lambda load_file, regex_pattern: re.search(regex_pattern, version_file),
        compiler=lambda language: f"{language}-compiler",
        stdlib=lambda language: f"{language}-stdlib",
        PYTHON="python",
    )
    recipe = yaml.safe_load(text)
    assert recipe["package"]["version"] == lf.__version__
    stated = requires("lvm_fast") or []
    needed = {
        re.sub(r"[<>=].*", "", entry): sorted(re.findall(r"[<>]=?[\d.]+", entry))
        for entry in stated
        if ";" not in entry
    }
    needed["pytorch"] = needed.pop("torch")
    run = [entry.partition(" ") for entry in recipe["requirements"]["run"] if entry != "python"]
    assert {name.lower(): sorted(limits.split(",")) for name, _, limits in run} == {
        name.lower(): limits for name, limits in needed.items()
    }
