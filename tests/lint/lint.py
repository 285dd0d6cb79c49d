"""The project's own rules about its source, each as a function that lists what breaks it.

Run as a program it checks the whole tree, prints one line for each violation and exits with 1 where there is any.
tests/lint/test_lint.py plants a violation of each rule in a small tree and sees it reported.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# A layer may include what stands before it, and itself.
LAYERS = ["base", "ledger", "flow", "data", "store", "source", "loader", "split"]
# Where functions of ALLOCATION_CALLS may be used, and which.
ALLOCATION_FILE = "src/base/memory.c"
FORK_MARK_FILE, FORK_MARK_CALLS = "python/forebay/_ext/module.c", ("mmap", "munmap")
LOCK_OBJECT = "base_lock.c.o"
# Data that is constant once the loader has placed it (.data.rel.ro) is no state.
WRITABLE_SECTION = re.compile(r"\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*")
MOST_FILE_LINES = 600
MOST_FUNCTION_LINES = 80

ALLOCATION_CALLS = (
    "malloc calloc realloc reallocarray aligned_alloc posix_memalign memalign valloc strdup strndup asprintf "
    "vasprintf getline alloca free mmap mmap64 mremap munmap sbrk brk"
).split()
CLOCK_CALLS = (
    "time gettimeofday ftime localtime localtime_r gmtime gmtime_r mktime clock timespec_get".split()
)
SLEEP_CALLS = "sleep usleep nanosleep clock_nanosleep sched_yield pthread_yield thrd_sleep thrd_yield".split()
END_CALLS = "abort exit _exit _Exit quick_exit printf vprintf fprintf vfprintf puts fputs putchar perror system".split()
PYTHON_CALLS = {
    "time.time": "wall clock",
    "time.time_ns": "wall clock",
    "time.sleep": "sleeping",
    "datetime.now": "wall clock",
    "datetime.utcnow": "wall clock",
    "datetime.datetime.now": "wall clock",
}
# Written in halves, so that this file passes its own rule.
UNFINISHED_WORDS = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]

Violations = Iterator[str]


def files(root: Path, folders: str, suffixes: str) -> list[Path]:
    """The files below folders (space-separated) whose names end in one of suffixes, sorted."""
    found = []
    for folder in folders.split():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes.split() and path.is_file() and "__pycache__" not in path.parts:
                found.append(path)
    return found


def code_only(text: str) -> str:
    """C source with comments, string and character literals blanked; line numbers stay."""
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL)


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def calls_in_c(
    root: Path, folders: str, names: list[str], *, but: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """(place, name) wherever a function of names is called or its address taken; members of that name are not meant."""
    pattern = re.compile(
        rf"(?<![\w.>])(?:{'|'.join(names)})(?=\s*\()|(?<=[=(,])\s*(?:{'|'.join(names)})(?=\s*[,;)])"
    )
    for path in files(root, folders, ".c .h"):
        name = str(path.relative_to(root))
        if name in but:
            continue
        code = code_only(path.read_text())
        code = re.sub(r"__attribute__\s*\(\(.*?\)\)", lambda match: " " * len(match[0]), code)
        for match in pattern.finditer(code):
            yield f"{name}:{line_of(code, match.end())}", match[0].strip()


def allocation_gate(root: Path) -> Violations:
    """Memory is asked of the system in one file only, so that every byte passes the ledger."""
    for place, name in calls_in_c(root, "src python/forebay/_ext", ALLOCATION_CALLS, but=(ALLOCATION_FILE,)):
        # A page that fork() wipes tells a child that it is one: no memory that could be booked.
        if place.startswith(FORK_MARK_FILE) and name in FORK_MARK_CALLS:
            continue
        yield f"{place}: {name}() outside {ALLOCATION_FILE}: go through the allocation gate"


def layer_order(root: Path) -> Violations:
    """A file includes only its own layer and those above it; the extension sees the public header only."""
    include = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
    for path in files(root, "src", ".c .h"):
        name = path.relative_to(root)
        layer = name.parts[1]
        if layer not in LAYERS:
            yield f"{name}:1: src/{layer} is not a layer: name it in tests/lint/lint.py and in docs/design.md"
            continue
        text = path.read_text()
        for match in include.finditer(text):
            place = f"{name}:{line_of(text, match.start(1))}"
            target = match[1].split("/")[0]
            if match[1] == "forebay/forebay.h":
                continue
            if target not in LAYERS or "/" not in match[1]:
                yield f'{place}: "{match[1]}": write the path from src/, as in "base/error.h"'
            elif LAYERS.index(target) > LAYERS.index(layer):
                yield f'{place}: {layer} includes "{match[1]}", a layer that stands below it'
    for path in files(root, "python/forebay/_ext", ".c .h"):
        text = path.read_text()
        for match in include.finditer(text):
            if match[1] not in ("forebay/forebay.h", "module.h"):
                place = f"{path.relative_to(root)}:{line_of(text, match.start(1))}"
                yield f'{place}: "{match[1]}": the extension includes forebay/forebay.h and module.h only'


def c_functions(code: str) -> Iterator[tuple[int, int, str]]:
    """(first line, lines, name) of each function of formatted C: its braces stand at the start of a line."""
    for match in re.finditer(r"(?:^[^\s#{}/][^{};]*?\n)\{\n.*?^\}$", code, re.DOTALL | re.MULTILINE):
        name = re.search(r"(\w+)\s*\(", match[0])
        if name:
            yield line_of(code, match.start()), match[0].count("\n") + 1, name[1]


def sizes(root: Path) -> Violations:
    """Files of at most 600 lines, functions of at most 80 (a Python docstring not counted)."""
    for path in files(root, "include src python tests benchmarks examples scripts", ".c .h .py .pyi"):
        name, text = path.relative_to(root), path.read_text()
        lines = len(text.splitlines())
        if lines > MOST_FILE_LINES:
            yield f"{name}:{lines}: {lines} lines; at most {MOST_FILE_LINES} in a file"
        if path.suffix in (".c", ".h"):
            functions = list(c_functions(code_only(text)))
        else:
            functions = list(python_functions(ast.parse(text)))
        for line, count, function in functions:
            if count > MOST_FUNCTION_LINES:
                yield f"{name}:{line}: {function}() has {count} lines; at most {MOST_FUNCTION_LINES} in a function"


def python_functions(module: ast.Module) -> Iterator[tuple[int, int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                count -= first.end_lineno - first.lineno + 1
            yield node.lineno, count, node.name


def clock_and_sleep(root: Path) -> Violations:
    """Time is monotonic and comes from base/clock; waiting is never sleeping or polling."""
    folders = "src python/forebay/_ext"
    for place, name in calls_in_c(root, folders, CLOCK_CALLS):
        yield f"{place}: {name}(): time comes from base/clock, which is monotonic"
    for place, name in calls_in_c(root, folders, SLEEP_CALLS):
        yield f"{place}: {name}(): wait on a condition variable or in ppoll"
    for path in files(root, folders, ".c .h"):
        code = code_only(path.read_text())
        for match in re.finditer(r"\bCLOCK_REALTIME\w*|\bTIME_UTC\b", code):
            yield f"{path.relative_to(root)}:{line_of(code, match.start())}: {match[0]}: the clock is CLOCK_MONOTONIC"
    for path in files(root, "python/forebay", ".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PYTHON_CALLS:
                called = ast.unparse(node.func)
                yield f"{path.relative_to(root)}:{node.lineno}: {called}(): {PYTHON_CALLS[called]}"


def no_ending_or_printing(root: Path) -> Violations:
    """A library returns its errors: it neither ends the process nor prints."""
    for place, name in calls_in_c(root, "src python/forebay/_ext", END_CALLS):
        yield f"{place}: {name}(): return an errno code with struct fb_error filled"


def no_typedef_of_structs(root: Path) -> Violations:
    """A struct is called a struct, so that a reader sees what is copied."""
    for path in files(root, "include src python/forebay/_ext tests examples", ".c .h"):
        code = code_only(path.read_text())
        # The extension's objects follow CPython, whose macros want a name of one word.
        for match in re.finditer(r"\btypedef\s+(?:struct|union|enum)\b", code):
            if "_ext" not in path.parts:
                yield f"{path.relative_to(root)}:{line_of(code, match.start())}: typedef: write struct, union or enum"


def file_heads(root: Path) -> Violations:
    """A file begins by saying what it is for."""
    for path in files(root, "include src python tests benchmarks examples scripts", ".c .h .py .pyi"):
        text = path.read_text()
        head = ("/*",) if path.suffix in (".c", ".h") else ('"""', 'r"""', "#")
        if not text.startswith(head):
            yield f"{path.relative_to(root)}:1: begins without a comment that says what the file is for"


def failures_are_swept(root: Path) -> Violations:
    """Every public function that can fail is called in the sweeps that make it fail."""
    header = root / "include/forebay/forebay.h"
    if not header.exists():
        return
    code = code_only(header.read_text())
    swept = "".join(code_only(path.read_text()) for path in files(root, "tests/faults", ".c .h"))
    for match in re.finditer(r"\bFB_MUST_CHECK\s+[\w\s*]*?\b(fb_\w+)\(", code):
        if not re.search(rf"\b{match[1]}\(", swept):
            place = f"{header.relative_to(root)}:{line_of(code, match.start(1))}"
            yield f"{place}: {match[1]}() can fail and is called nowhere in tests/faults: see world.h there"


def nothing_unfinished(root: Path) -> Violations:
    """Work is finished, or it is not there."""
    pattern = re.compile(rf"\b(?:{'|'.join(UNFINISHED_WORDS)})\b")
    folders = "include src python tests benchmarks examples scripts docs .ci"
    paths = files(root, folders, ".c .h .py .pyi .md .build") + sorted(root.glob("*.md"))
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := pattern.search(line):
                yield f"{path.relative_to(root)}:{number}: {match[0]}: finish it or take it out"


def built_files(root: Path) -> Violations:
    """Every source, package file, C test and example is named in the meson.build beside it: none is left out."""
    listed = files(root, "src python/forebay", ".c .py .pyi .typed")
    listed += [
        path
        for path in files(root, "tests/unit tests/stress tests/faults", ".c")
        if re.match("test_|stress_|sweep_", path.name)
    ]
    listed += files(root, "examples", ".c")
    for path in listed:
        build = path.parent / "meson.build"
        name = path.name if path.relative_to(root).parts[0] in ("src", "python") else path.stem
        if not build.exists() or f"'{name}'" not in build.read_text():
            yield f"{path.relative_to(root)}:1: not named in {build.relative_to(root)}"


TREE_RULES: list[Callable[[Path], Violations]] = [
    allocation_gate,
    layer_order,
    sizes,
    clock_and_sleep,
    no_ending_or_printing,
    no_typedef_of_structs,
    file_heads,
    failures_are_swept,
    nothing_unfinished,
    built_files,
]


# ---- rules about what the compiler made of the core ------------------------------------------------------------------

# `objdump --syms`: a line for each object file, and for each symbol its value, flags, section, size, perhaps its
# visibility, and name.
OBJECT_FILE = re.compile(r"^(\S+\.o):\s+file format")
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ +(?:\.(hidden|internal|protected) )?(\S+)$")


@dataclass
class Symbol:
    """One symbol that an object file of the library defines."""

    name: str
    object_file: str  # "src_base_lock.c.o"
    section: str
    is_global: bool
    is_variable: bool
    is_visible: bool  # to others, once linked


def symbols(library: Path) -> Iterator[Symbol]:
    """The symbols that the object files of a static library define."""
    listing = subprocess.run(
        ["objdump", "--syms", library], check=True, capture_output=True, text=True
    ).stdout
    object_file = ""
    for line in listing.splitlines():
        if head := OBJECT_FILE.match(line):
            object_file = head[1]
        match = SYMBOL.match(line)
        if not match or match[2] in ("*UND*", "*ABS*"):
            continue
        flags, section, visibility, name = match.groups()
        is_global = flags[0] in "gu!" or flags[1] == "w"
        is_variable = "O" in flags or (name != section and section in (".tbss", ".tdata", "*COM*"))
        yield Symbol(name, object_file, section, is_global, is_variable, is_global and visibility is None)


def public_symbols(library: Path) -> Violations:
    """What the core shows to others is fb_noun_verb; what its files share among themselves is fb__noun_verb, hidden."""
    for symbol in symbols(library):
        place = f"{symbol.object_file}: {symbol.name}"
        if symbol.is_visible and not re.match(r"fb_[a-z]", symbol.name):
            yield f"{place} is visible to others: only fb_noun_verb may be, declared with FB_API"
        elif symbol.is_global and not symbol.is_visible and not symbol.name.startswith("fb__"):
            yield f"{place} is shared between files: name it fb__noun_verb"


def no_mutable_state(library: Path) -> Violations:
    """The core has no process-wide state: no variable at file scope, no static one in a function.

    The ranks of the locks that a thread holds are the thread's own, and debug builds only.
    """
    for symbol in symbols(library):
        if not symbol.is_variable:
            continue
        is_rank_check = symbol.section in (".tbss", ".tdata") and symbol.object_file.endswith(LOCK_OBJECT)
        if WRITABLE_SECTION.match(symbol.section) and not is_rank_check:
            yield f"{symbol.object_file}: {symbol.name} in {symbol.section}: mutable state; keep it in a handle"


LIBRARY_RULES: list[Callable[[Path], Violations]] = [public_symbols, no_mutable_state]


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the project's own rules about its source.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--library", type=Path, help="the core as built: checks its symbols too")
    options = parser.parse_args()
    found = [violation for rule in TREE_RULES for violation in rule(options.root)]
    if options.library:
        found += [violation for rule in LIBRARY_RULES for violation in rule(options.library)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
