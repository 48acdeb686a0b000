"""Every check of the project, one session each: `nox -l` lists them, `nox -s lint` runs one.

A session makes its own environment and shares nothing with the others. One thing can be handed over, by name: where
the variable LVM_FAST_WHEEL holds the path of a wheel, sessions install that wheel instead of building the package.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
SAMPLE = str(ROOT / "examples" / "sample")
MOST_BYTES = 4_000_000  # of the wheel
CONSTRAINTS = str(ROOT / ".ci" / "constraints.txt")
BUILD_TOOLS = ("cmake>=3.25", "ninja")

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "docs"]

os.environ.setdefault("PIP_CONSTRAINT", CONSTRAINTS)
os.environ.setdefault("UV_CONSTRAINT", CONSTRAINTS)
if shutil.which("ccache"):
    os.environ.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")


# ---- Python ----------------------------------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and C++, and the directions in which the rooms may import each other."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("clang-format", "--dry-run", "--Werror", *cpp_files(session))
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types of the package, of bench, and of the tests' helpers. Needs no compiled core."""
    session.install(*PYPROJECT["project"]["dependencies"], *group("types"))
    session.run("mypy")
    for conftest in sorted(ROOT.glob("tests/**/conftest.py")):  # all of one name: mypy takes one at a time
        session.run("mypy", str(conftest))


@nox.session
def tests(session: nox.Session) -> None:
    """The default tests; what follows `--` is handed to pytest."""
    install_package(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The exhaustive tests, one process for each core."""
    install_package(session, "test")
    session.run("pytest", "-m", "slow", "-n", "auto", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def coreai(session: nox.Session) -> None:
    """The tests of Core AI export in Apple's runtime, for which Python 3.10 and old systems have no packages."""
    install_package(session, "coreai,test")
    session.run("pytest", "-m", "not apple", "tests/export/coreai", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site in build/docs; any warning is an error."""
    install_package(session, "adapters,coreml,plot", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "--quiet", "-b", "html", "docs", "build/docs")


@nox.session
def wheel(session: nox.Session) -> None:
    """Builds sdist, wheel and sample into dist/, publishes them to an index on this machine, and tries them from it."""
    session.install(*group("release"))
    built = build_release(session, ROOT / "dist")
    session.run("twine", "check", "--strict", *map(str, (ROOT / "dist").iterdir()))
    if sys.platform == "linux":
        session.run("auditwheel", "show", str(built))
    if built.stat().st_size > MOST_BYTES:
        session.error(f"{built.name} has {built.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
    session.run("python", ".ci/try_release.py", "dist", str(Path(session.create_tmp()) / "fresh"))


@nox.session
def reproducible(session: nox.Session) -> None:
    """Builds the release twice, in two places and without a cache: the same bytes come out."""
    session.install(*group("release"))
    os.environ.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)
    places = [Path(session.create_tmp()) / name for name in ("first", "another place")]
    for place in places:
        build_release(session, place)
    names = sorted(file.name for file in places[0].iterdir())
    differ = [name for name in names if len({(place / name).read_bytes() for place in places}) > 1]
    if differ:
        session.error(f"two builds differ: {', '.join(differ)}")


@nox.session
@nox.parametrize("resolution", ["lowest-direct", "highest"])
def versions(session: nox.Session, resolution: str) -> None:
    """The tests with the lowest versions that pyproject.toml allows, and with the newest."""
    session.env.update(UV_CONSTRAINT="", PIP_CONSTRAINT="")
    session.install("uv")
    extras = "coreml,documents,encode,hub,plot"
    # what only the tests need has no lowest version of its own to try
    session.run("uv", "pip", "install", "--resolution", resolution, f".[{extras}]", SAMPLE)
    frozen = str(session.run("uv", "pip", "freeze", "--exclude-editable", silent=True))
    pins = [line for line in frozen.splitlines() if "==" in line]
    session.log("%s", ", ".join(pins))
    (Path(session.create_tmp()) / "pins.txt").write_text("\n".join(pins))
    session.run("uv", "pip", "install", "-c", str(Path(session.create_tmp()) / "pins.txt"), ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The quick table of timings beside other libraries."""
    install_package(session, "test", *group("bench"))
    session.run("python", "bench/table.py", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Reports which lines the tests run, in Python and in C++. It is no gate."""
    session.install("-e", ".[test]", *BUILD_TOOLS, *group("coverage"))
    session.run("pytest", "--cov=lvm_fast", "--cov-report=term", *session.posargs)
    counted = "--coverage -fprofile-update=atomic"  # threads count the same lines
    build = configure(session, "coverage", "-DCMAKE_BUILD_TYPE=Debug", f"-DCMAKE_CXX_FLAGS={counted}")
    session.run("cmake", "--build", build)
    session.run("ctest", "--test-dir", build, "--output-on-failure")  # all: what follows `--` is pytest's
    session.run("gcovr", "--root", ".", "--filter", "csrc/", build)


# ---- C++ -------------------------------------------------------------------------------------------------------------


@nox.session
def cpp(session: nox.Session) -> None:
    """The C++ tests as the oldest clang optimises them, the symbols of each level, one definition of each type."""
    session.install(*BUILD_TOOLS, "pybind11>=3,<4")
    clang = shutil.which("clang++-14") or shutil.which("clang++")
    if clang:
        cpp_tests(session, "clang", f"-DCMAKE_CXX_COMPILER={clang}")
        level_symbols(session, "clang-debug", f"-DCMAKE_CXX_COMPILER={clang}")
    else:
        session.warn("no clang on this machine: its build is left out")
    level_symbols(session, "debug")
    one_definition(session)


@nox.session
def sanitize(session: nox.Session) -> None:
    """The C++ tests under the address, undefined-behaviour and thread sanitizers."""
    session.install(*BUILD_TOOLS)
    cpp_tests(session, "address", "-DLVM_FAST_SANITIZE=ON")
    cpp_tests(session, "thread", "-DLVM_FAST_SANITIZE=thread")


@nox.session
def neon(session: nox.Session) -> None:
    """The C++ tests for Arm, in an emulator."""
    if not shutil.which("aarch64-linux-gnu-g++") or not shutil.which("qemu-aarch64"):
        session.skip("needs the cross-compiler aarch64-linux-gnu-g++ and the emulator qemu-aarch64")
    session.install(*BUILD_TOOLS)
    target = (
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu",
    )
    cpp_tests(session, "neon", *target)
    level_symbols(session, "neon-debug", *target)


@nox.session
def tidy(session: nox.Session) -> None:
    """Advice of clang-tidy on the core. It is no gate."""
    session.install(*BUILD_TOOLS, "clang-tidy>=18")
    clang = shutil.which("clang++-14") or shutil.which("clang++")
    options = [f"-DCMAKE_CXX_COMPILER={clang}"] if clang else []
    build = configure(session, "tidy", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *options)
    session.run("run-clang-tidy.py", "-quiet", "-p", build, str(ROOT / "csrc"))


# ---- What the sessions share -----------------------------------------------------------------------------------------


def install_package(session: nox.Session, extra: str, *others: str) -> None:
    """Install the package with an extra, and the sample: the wheel that LVM_FAST_WHEEL names, or else a fresh build."""
    built = os.environ.get("LVM_FAST_WHEEL")
    source = str(Path(built).resolve()) if built else "."
    session.install(f"{source}[{extra}]", SAMPLE, *others)


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PYPROJECT, name)


def build_release(session: nox.Session, place: Path) -> Path:
    """Build sdist, the wheel from it, and the sample's wheel into a folder, which is emptied first; returns the wheel.

    The variable LVM_FAST_REPOSITORY holds the address of the repository, which the index page then links to.
    """
    shutil.rmtree(place, ignore_errors=True)
    committed = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    dated = {"SOURCE_DATE_EPOCH": str(committed).strip()}
    tree = str(Path(session.create_tmp()) / "release")
    session.run("python", ".ci/release_tree.py", tree, os.environ.get("LVM_FAST_REPOSITORY", ""))
    session.run("python", "-m", "build", "--outdir", str(place), tree, env=dated)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(place), SAMPLE, env=dated)
    (built,) = place.glob("lvm_fast-*.whl")
    return built


def cpp_files(session: nox.Session) -> list[str]:
    """Every C++ file that git knows."""
    listed = session.run("git", "ls-files", "*.cpp", "*.h", external=True, silent=True)
    return str(listed).split()


def configure(session: nox.Session, name: str, *options: str) -> str:
    """Configure a build of the core and its tests, without Python; returns its folder."""
    folder = str(Path(session.create_tmp()) / name)
    switches = ("-DLVM_FAST_BUILD_PYTHON=OFF", "-DLVM_FAST_BUILD_TESTS=ON", "-DLVM_FAST_WERROR=ON")
    session.run("cmake", "-S", ".", "-B", folder, "-G", "Ninja", *switches, *options, silent=True)
    return folder


def cpp_tests(session: nox.Session, name: str, *options: str) -> str:
    """Build the C++ tests and run them; returns the folder of the build."""
    folder = configure(session, name, *options)
    session.run("cmake", "--build", folder)
    session.run("ctest", "--test-dir", folder, "--output-on-failure", *session.posargs)
    return folder


def level_symbols(session: nox.Session, name: str, *options: str) -> None:
    """Check what the objects of each instruction set define; without optimisation everything shows."""
    folder = configure(session, name, "-DCMAKE_BUILD_TYPE=Debug", *options)
    session.run("cmake", "--build", folder, "--target", "lvm_fast_core")
    only = ("--tests-regex", "level_symbols", "--no-tests=error")
    session.run("ctest", "--test-dir", folder, "--output-on-failure", *only)


def one_definition(session: nox.Session) -> None:
    """Build core and bindings as a whole, where GCC's linker sees that every type has one definition."""
    said = session.run("g++", "--version", external=True, silent=True) if shutil.which("g++") else ""
    if "Free Software Foundation" not in str(said):
        session.warn("no GCC on this machine: the check for one definition of every type is left out")
        return
    folder = str(Path(session.create_tmp()) / "whole")
    pybind11 = session.run("python", "-m", "pybind11", "--cmakedir", silent=True)
    options = (
        "-DCMAKE_CXX_COMPILER=g++",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON",
        "-DCMAKE_CXX_FLAGS=-Werror=odr -Werror=lto-type-mismatch",
        f"-Dpybind11_DIR={str(pybind11).strip()}",
    )
    session.run("cmake", "-S", ".", "-B", folder, "-G", "Ninja", *options, silent=True)
    session.run("cmake", "--build", folder)
