"""The rules of lint.py: the tree keeps them, and a planted violation of each is reported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lint

ROOT = Path(__file__).resolve().parents[2]


def plant(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def build_library(folder: Path, source: str) -> Path:
    """A static library of one object file, compiled as the core is."""
    path = plant(folder, "sample.c", source)
    subprocess.run(
        ["cc", "-std=c11", "-fPIC", "-fvisibility=hidden", "-c", path, "-o", folder / "sample.c.o"],
        check=True,
    )
    subprocess.run(["ar", "rcs", folder / "libsample.a", folder / "sample.c.o"], check=True)
    return folder / "libsample.a"


@pytest.mark.parametrize("rule", lint.TREE_RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    assert list(rule(ROOT)) == []


@pytest.mark.parametrize("rule", lint.LIBRARY_RULES, ids=lambda rule: rule.__name__)
def test_the_core_as_built_keeps_the_rule(rule):
    library = os.environ.get("FOREBAY_CORE_LIBRARY")
    if not library:
        pytest.skip("FOREBAY_CORE_LIBRARY does not name the core as built (make test does)")
    assert list(lint.symbols(ROOT / library)), "the library has no symbols"
    assert list(rule(ROOT / library)) == []


def long_c_function(lines: int) -> str:
    """A file with a function of so many lines."""
    return "/* Long. */\nint fb__long(void)\n{\n" + "    ;\n" * (lines - 3) + "}\n"


def long_python_function(lines: int) -> str:
    return '"""Long."""\n\n\ndef long():\n    """Says."""\n' + "    pass\n" * (lines - 1)


UNFINISHED = "TO" + "DO"

# Rule, file, text, a part of the message.
VIOLATIONS = [
    (lint.allocation_gate, "src/data/x.c", "/* X. */\nvoid *p = malloc(3);\n", "src/data/x.c:2: malloc()"),
    (lint.allocation_gate, "src/data/x.c", "/* X. */\nthing.release = free;\n", "src/data/x.c:2: free()"),
    (
        lint.allocation_gate,
        "python/forebay/_ext/x.c",
        "/* X. */\nq = mmap(0, 1, 2, 3, 4, 5);\n",
        "mmap() outside",
    ),
    (lint.layer_order, "src/ledger/x.c", '/* X. */\n#include "flow/stage.h"\n', "ledger includes"),
    (lint.layer_order, "src/base/x.h", '/* X. */\n#include "loader/loader.h"\n', "base includes"),
    (lint.layer_order, "src/base/x.c", '/* X. */\n#include "error.h"\n', "write the path from src/"),
    (lint.layer_order, "src/extra/x.c", "/* X. */\n", "not a layer"),
    (
        lint.layer_order,
        "python/forebay/_ext/x.c",
        '/* X. */\n#include "base/lock.h"\n',
        "the extension includes",
    ),
    (lint.sizes, "src/base/x.c", "/* X. */\n" * 601, "601 lines; at most 600"),
    (lint.sizes, "src/base/x.c", long_c_function(81), "fb__long() has 81 lines"),
    (lint.sizes, "python/forebay/x.py", long_python_function(81), "long() has 81 lines"),
    (lint.clock_and_sleep, "src/base/x.c", "/* X. */\nt = time(NULL);\n", "time()"),
    (lint.clock_and_sleep, "src/base/x.c", "/* X. */\nf(CLOCK_REALTIME, &t);\n", "CLOCK_REALTIME"),
    (lint.clock_and_sleep, "src/base/x.c", "/* X. */\nwhile (!done) usleep(100);\n", "usleep()"),
    (
        lint.clock_and_sleep,
        "python/forebay/x.py",
        "# X.\nimport time\ntime.sleep(1)\n",
        "x.py:3: time.sleep()",
    ),
    (lint.no_ending_or_printing, "src/base/x.c", "/* X. */\nif (bad) abort();\n", "abort()"),
    (lint.no_ending_or_printing, "src/base/x.c", '/* X. */\nfprintf(stderr, "bad");\n', "fprintf()"),
    (lint.no_typedef_of_structs, "src/base/x.h", "/* X. */\ntypedef struct x x_t;\n", "typedef"),
    (lint.file_heads, "src/base/x.c", "#include <stdio.h>\n", "begins without a comment"),
    (lint.file_heads, "python/forebay/x.py", "import os\n", "begins without a comment"),
    (
        lint.failures_are_swept,
        "include/forebay/forebay.h",
        "/* X. */\nFB_API FB_MUST_CHECK void *fb_noun_verb(int noun);\n",
        "forebay.h:2: fb_noun_verb()",
    ),
    (lint.nothing_unfinished, "src/base/x.c", f"/* {UNFINISHED}: later. */\n", UNFINISHED),
    (lint.nothing_unfinished, "README.md", f"# Title\n{UNFINISHED}\n", "README.md:2"),
    (lint.built_files, "src/base/x.c", "/* X. */\n", "not named in src/base/meson.build"),
    (lint.built_files, "python/forebay/x.py", "# X.\n", "not named in python/forebay/meson.build"),
    (lint.built_files, "tests/unit/test_x.c", "/* X. */\n", "not named in tests/unit/meson.build"),
    (lint.built_files, "examples/x.c", "/* X. */\n", "not named in examples/meson.build"),
    (lint.built_files, "tests/faults/sweep_x.c", "/* X. */\n", "not named in tests/faults/meson.build"),
]


@pytest.mark.parametrize(("rule", "name", "text", "message"), VIOLATIONS)
def test_a_violation_is_reported(tmp_path, rule, name, text, message):
    plant(tmp_path, name, text)
    found = list(rule(tmp_path))
    assert len(found) == 1
    assert message in found[0]


def test_each_rule_about_the_tree_has_a_planted_violation():
    assert {rule for rule, *_ in VIOLATIONS} == set(lint.TREE_RULES)


# Rule, file, text: close to a violation and none.
INNOCENT = [
    (lint.allocation_gate, "src/base/memory.c", "/* Gate. */\nvoid *p = malloc(3);\n"),
    (
        lint.allocation_gate,
        "src/data/x.c",
        '/* free(p) */\nf("malloc(3)"); ops.free(p); fb__gate_free(g, p);\n',
    ),
    (
        lint.layer_order,
        "src/flow/x.c",
        '/* X. */\n#include "ledger/ledger.h"\n#include "forebay/forebay.h"\n',
    ),
    (lint.sizes, "src/base/x.c", long_c_function(80)),
    (lint.sizes, "python/forebay/x.py", long_python_function(80)),
    (lint.clock_and_sleep, "src/base/x.c", "/* X. */\nwait_time(CLOCK_MONOTONIC); /* time() */\n"),
    (
        lint.no_ending_or_printing,
        "src/base/x.h",
        "/* X. */\nvoid f(void) __attribute__((format(printf, 1, 2)));\n",
    ),
]


@pytest.mark.parametrize(("rule", "name", "text"), INNOCENT)
def test_what_is_close_to_a_violation_is_not_reported(tmp_path, rule, name, text):
    plant(tmp_path, name, text)
    assert list(rule(tmp_path)) == []


def test_functions_of_c_are_found_where_they_begin():
    text = long_c_function(5) + "\nstatic const int table[] = {\n    1,\n};\n\n" + long_c_function(7)
    assert [(count, name) for _, count, name in lint.c_functions(text)] == [(5, "fb__long"), (7, "fb__long")]


LIBRARY_VIOLATIONS = [
    (
        lint.public_symbols,
        '__attribute__((visibility("default"))) int helper(void) { return 0; }',
        "helper is visible",
    ),
    (
        lint.public_symbols,
        '__attribute__((visibility("default"))) int fb__x(void) { return 0; }',
        "fb__x is visible",
    ),
    (lint.public_symbols, "int helper(void) { return 0; }", "helper is shared"),
    (lint.no_mutable_state, "static int count; int fb__next(void) { return ++count; }", "count in .bss"),
    (lint.no_mutable_state, "int fb__next(void) { static int count = 7; return ++count; }", "in .data"),
    (
        lint.no_mutable_state,
        "static _Thread_local int own; int fb__next(void) { return ++own; }",
        "own in .tbss",
    ),
]


@pytest.mark.parametrize(("rule", "source", "message"), LIBRARY_VIOLATIONS)
def test_a_violation_in_the_built_core_is_reported(tmp_path, rule, source, message):
    found = list(rule(build_library(tmp_path, source + "\n")))
    assert len(found) == 1
    assert message in found[0]


def test_constant_data_is_no_mutable_state(tmp_path):
    source = (
        'static const char *const names[] = {"a", "b"}; const char *fb__name(int i) { return names[i]; }\n'
    )
    assert list(lint.no_mutable_state(build_library(tmp_path, source))) == []


def test_the_program_fails_and_names_the_place(tmp_path):
    plant(tmp_path, "src/base/x.c", "/* X. */\nvoid *p = malloc(3);\n")
    plant(tmp_path, "src/base/meson.build", "core_sources += files('x.c')\n")
    program = [sys.executable, ROOT / "tests/lint/lint.py", "--root", tmp_path]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch(r"src/base/x\.c:2: malloc\(\).*\n", result.stdout)


def test_the_program_passes_on_a_clean_tree(tmp_path):
    plant(tmp_path, "src/base/x.c", "/* X. */\n")
    plant(tmp_path, "src/base/meson.build", "core_sources += files('x.c')\n")
    program = [sys.executable, ROOT / "tests/lint/lint.py", "--root", tmp_path]
    assert subprocess.run(program).returncode == 0
