"""The C library as its users meet it: installed in an empty folder, found with pkg-config, alone.

FOREBAY_C_BUILD names a Meson build of it (`make test` does); without that the tests are skipped.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "include/forebay/forebay.h").read_text()
PAGE = (ROOT / "docs/c.md").read_text()
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
PREAMBLE = "".join(
    f"#include <{name}>\n" for name in ("errno.h", "stdio.h", "stdlib.h", "string.h", "forebay/forebay.h")
)
BLOCKS = re.findall(r"^```c\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROGRAMS = [block for block in BLOCKS if "int main(" in block]
EXAMPLES = sorted((ROOT / "examples").glob("*.c"))


def run(command: Sequence[str | Path], **options) -> str:
    """Standard output of a command that must succeed; what it wrote is shown where it does not."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def needs(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"there is no {program}")


class Installed:
    """An installed library: the environment in which pkg-config finds it."""

    def __init__(self, folder: Path):
        (pc,) = folder.rglob("forebay.pc")
        self.folder = folder
        self.libraries = pc.parents[1]
        self.environment = os.environ | {
            "PKG_CONFIG_PATH": str(pc.parent),
            "PKG_CONFIG_SYSROOT_DIR": str(folder),
            "LD_LIBRARY_PATH": str(self.libraries),
        }

    def flags(self, *wanted: str) -> list[str]:
        return run(["pkg-config", *wanted, "forebay"], env=self.environment).split()

    def execute(self, program: Path) -> str:
        return run([program], env=self.environment, cwd=program.parent, timeout=60)


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Installed:
    build = os.environ.get("FOREBAY_C_BUILD")
    if not build:
        pytest.skip("FOREBAY_C_BUILD does not name a Meson build of the library (make test does)")
    needs("pkg-config")
    folder = tmp_path_factory.mktemp("installed")
    meson = ["meson", "install", "--quiet", "--no-rebuild", "--tags", "devel,runtime"]
    run([*meson, "-C", ROOT / build, "--destdir", folder])
    return Installed(folder)


@pytest.fixture(scope="session")
def installed_static(installed, tmp_path_factory) -> Installed:
    """As a build with -Ddefault_library=static installs it."""
    folder = tmp_path_factory.mktemp("static") / "installed"
    shutil.copytree(installed.folder, folder, symlinks=True)
    for shared in folder.rglob("libforebay.so*"):
        shared.unlink()
    return Installed(folder)


def shared_library(installed: Installed) -> Path:
    return (installed.libraries / "libforebay.so").resolve()


def exported_symbols(library: Path) -> set[str]:
    return {line.split()[-1] for line in run(["nm", "-D", "--defined-only", library]).splitlines()}


def declared_functions(header: str) -> set[str]:
    code = re.sub(r"/\*.*?\*/|^\s*#.*?(?<!\\)$", "", header, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"\bFB_API\b[^;(]*?\b(\w+)\s*\(", code))


def test_the_functions_of_the_header_are_exported_and_nothing_else(installed):
    declared = declared_functions(HEADER)
    assert {"fb_loader_next", "fb_error_set", "fb_fill_place", "fb_account_name"} <= declared
    assert exported_symbols(shared_library(installed)) == declared
    assert [name for name in declared if not re.match(r"fb_[a-z]", name)] == []


def test_every_function_of_the_header_is_marked_for_export():
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    declarations = re.findall(r"^[A-Za-z][\w *\n]*?\b(fb_\w+)\(", code, re.MULTILINE)
    assert set(declarations) == declared_functions(HEADER)


def test_the_soname_carries_the_version(installed):
    dynamic = run(["readelf", "--dynamic", shared_library(installed)])
    soname = re.search(r"SONAME.*\[(.*)\]", dynamic)[1]
    version = run(["pkg-config", "--modversion", "forebay"], env=installed.environment).strip()
    major, minor, _ = version.split(".")
    assert soname == f"libforebay.so.{major}.{minor}" if major == "0" else f"libforebay.so.{major}"
    assert (installed.libraries / soname).resolve() == shared_library(installed)


@pytest.mark.parametrize("compiler", [["cc", "-std=c11"], ["g++", "-std=c++17"]], ids=["C11", "C++17"])
def test_the_header_stands_alone(installed, tmp_path, compiler):
    needs(compiler[0])
    source = tmp_path / ("alone.c" if compiler[0] == "cc" else "alone.cc")
    source.write_text(
        "#include <forebay/forebay.h>\n#include <forebay/forebay.h>\nint main() { return 0; }\n"
    )
    program = tmp_path / "alone"
    run([*compiler, *STRICT, source, "-o", program, *installed.flags("--cflags", "--libs")])
    installed.execute(program)


def test_functions_are_called_from_cpp(installed, tmp_path):
    needs("g++")
    source = tmp_path / "call.cc"
    source.write_text(
        "#include <cstring>\n#include <forebay/forebay.h>\n"
        'int main() { return std::strcmp(fb_account_name(FB_ACCOUNT_HELD), "held"); }\n'
    )
    run(
        [
            "g++",
            "-std=c++17",
            *STRICT,
            source,
            "-o",
            tmp_path / "call",
            *installed.flags("--cflags", "--libs"),
        ]
    )
    installed.execute(tmp_path / "call")


def test_a_program_may_carry_the_library_inside(installed_static, tmp_path):
    (tmp_path / "first.c").write_text(PROGRAMS[0])
    flags = installed_static.flags("--static", "--cflags", "--libs")
    run(["cc", "-std=c11", *STRICT, tmp_path / "first.c", "-o", tmp_path / "first", *flags])
    assert "libforebay" not in run(["ldd", tmp_path / "first"])
    assert "mean price 49.50" in installed_static.execute(tmp_path / "first")


# ---- the page and the examples ---------------------------------------------------------------------------------------


def test_the_first_program_of_the_page_is_built_by_the_line_that_the_page_gives(installed, tmp_path):
    (tmp_path / "first.c").write_text(PROGRAMS[0])
    (line,) = re.findall(r"^    (cc .*first\.c .*)$", PAGE, re.MULTILINE)
    run(["sh", "-c", line], cwd=tmp_path, env=installed.environment)
    assert "libforebay.so" in run(["ldd", tmp_path / "first"], env=installed.environment)
    assert "mean price 49.50" in installed.execute(tmp_path / "first")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_compiles(installed, tmp_path, number):
    block = BLOCKS[number]
    (tmp_path / "block.c").write_text(block if block in PROGRAMS else PREAMBLE + block)
    strict = [*STRICT, "-std=c11", *([] if block in PROGRAMS else ["-Wno-missing-prototypes"])]
    run(["cc", *strict, "-c", tmp_path / "block.c", "-o", tmp_path / "block.o", *installed.flags("--cflags")])


def test_the_page_has_blocks_and_names_every_example():
    assert len(PROGRAMS) == 1 and len(BLOCKS) >= 5
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in PAGE] == []


def test_what_the_head_of_the_header_shows_compiles(installed, tmp_path):
    head = HEADER[: HEADER.index("*/")]
    lines = re.findall(r"^ \*     (.*)$|^ \*$", head.split("Handles are opaque")[0], re.MULTILINE)
    assert any("fb_loader_next" in line for line in lines)
    (tmp_path / "head.c").write_text(
        f"{PREAMBLE}void use(void *values, uint64_t rows);\n"
        "void example(struct ArrowSchema schema, struct ArrowArray *blocks, uint64_t block_count);\n"
        "void example(struct ArrowSchema schema, struct ArrowArray *blocks, uint64_t block_count)\n"
        "{\n    struct fb_error error;\n" + "\n".join(lines) + "\n}\n"
    )
    # "errors left out"
    strict = ["-std=c11", *STRICT, "-Wno-unused-result"]
    run(["cc", *strict, "-c", tmp_path / "head.c", "-o", tmp_path / "head.o", *installed.flags("--cflags")])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_program_of_its_own(installed, tmp_path, example):
    program = tmp_path / example.stem
    run(["cc", "-std=c11", *STRICT, example, "-o", program, *installed.flags("--cflags", "--libs")])
    installed.execute(program)


# ---- the Python package ----------------------------------------------------------------------------------------------


def test_the_python_package_does_not_bring_the_c_library_along():
    try:
        files = importlib.metadata.files("forebay")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed")
    names = [str(path) for path in files or []]
    assert [name for name in names if "libforebay" in name or name.endswith((".h", ".pc", ".a"))] == []
