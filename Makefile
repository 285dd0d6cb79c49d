# The front door: each task of the project under one short name; `make help` lists them.
#
# Every task does the set-up it needs. What is done is remembered by stamps in .venv and build, so repeats are quick and
# the package is built again only when a source changed. Variables: ARGS (more arguments for demo, test, bench),
# PYTHON (the interpreter to use), WERROR=true (a compiler warning is an error), BUILD (the folder for builds).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

ARGS ?=
BUILD ?= build
WERROR ?= false

VENV_PYTHON := .venv/bin/python
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet
PACKAGE_SOURCES := $(shell find include src python meson.build meson.options pyproject.toml -type f \
                     -not -path '*/__pycache__/*')
C_FILES := $(shell find include src python tests examples -name '*.[ch]')
PYTHON_FOLDERS := $(wildcard python tests benchmarks examples scripts)

.PHONY: help setup setup-system demo install-c test check asan ubsan tsan fuzz soak bench fmt lint clean FORCE

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

# ---- set-up ---------------------------------------------------------------------------------------------------------

setup: .venv/dev.stamp .venv/package.stamp ## environment, tools and package in .venv

setup-system: ## install what the system lacks (apt, as root)
	@scripts/setup-system

# An environment and its builds hold absolute paths: both are made anew where the tree was moved or the Python is gone.
IS_HOME := $(shell [ "$$(cat .venv/home.stamp 2>/dev/null)" = "$(CURDIR)" ] && $(VENV_PYTHON) -c '' && echo yes)
.venv/home.stamp: $(if $(IS_HOME),,FORCE)
	@scripts/setup-system
	@rm -rf .venv .venv-bench* $(BUILD)
	@python=$$(scripts/find-python); echo "making .venv with $$python"; "$$python" -m venv .venv
	@echo "$(CURDIR)" >$@

.venv/run.stamp: .venv/home.stamp pyproject.toml
	@echo "installing what the build and the package need"
	@$(VENV_PYTHON) scripts/requirements.py build run | $(VENV_PYTHON) $(PIP_INSTALL) --requirement /dev/stdin
	@touch $@

.venv/test.stamp: .venv/run.stamp
	@echo "installing what the tests need"
	@$(VENV_PYTHON) scripts/requirements.py test | $(VENV_PYTHON) $(PIP_INSTALL) --requirement /dev/stdin
	@touch $@

.venv/dev.stamp: .venv/test.stamp
	@echo "installing the formatters and checkers"
	@$(VENV_PYTHON) scripts/requirements.py dev | $(VENV_PYTHON) $(PIP_INSTALL) --requirement /dev/stdin
	@touch $@

$(BUILD)/wheel/stamp: $(PACKAGE_SOURCES) .venv/run.stamp
	@echo "building the package"
	@rm -rf $(BUILD)/wheel
	@[ $(BUILD)/python -nt meson.options ] || rm -rf $(BUILD)/python # it does not know options that are new
	@$(IN_VENV) python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation \
	  --config-settings=build-dir=$(BUILD)/python --wheel-dir=$(BUILD)/wheel .
	@touch $@

.venv/package.stamp: $(BUILD)/wheel/stamp
	@$(VENV_PYTHON) $(PIP_INSTALL) --no-deps --force-reinstall $(BUILD)/wheel/*.whl
	@touch $@

.venv-bench/package.stamp: $(BUILD)/wheel/stamp benchmarks/requirements.txt
	@echo "installing forebay and its peers in .venv-bench"
	@[ -x .venv-bench/bin/python ] || "$$(scripts/find-python)" -m venv .venv-bench
	@.venv-bench/bin/python $(PIP_INSTALL) --requirement benchmarks/requirements.txt
	@.venv-bench/bin/python $(PIP_INSTALL) --no-deps --force-reinstall $(BUILD)/wheel/*.whl
	@touch $@

# Versions of one package cannot share an environment.
BENCH_RAY := .venv-bench-ray-2.55/stamp .venv-bench-ray-2.60/stamp
.venv-bench-ray-%/stamp: benchmarks/requirements-ray-%.txt .venv/home.stamp
	@echo "installing Ray $* in $(@D)"
	@[ -x $(@D)/bin/python ] || "$$(scripts/find-python)" -m venv $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) --requirement $<
	@touch $@

# ---- the main job ---------------------------------------------------------------------------------------------------

demo: .venv/package.stamp ## make a data set once, train on it inside 192 MiB
	@.venv/bin/forebay demo $(ARGS)

bench: .venv-bench/package.stamp $(BENCH_RAY) ## forebay beside other loaders, in environments of their own
	@.venv-bench/bin/python benchmarks/run.py $(ARGS)

# The library is made in a build of its own; DESTDIR works as everywhere.
PREFIX ?= /usr/local
install-c: .venv/run.stamp ## install the C library: make install-c PREFIX=/usr/local
	@$(IN_VENV) meson setup $(if $(wildcard $(BUILD)/c/build.ninja),--reconfigure) $(BUILD)/c -Dextension=false \
	  -Dbuildtype=release --prefix=$(abspath $(PREFIX)) --libdir=lib >/dev/null
	@$(IN_VENV) ninja --quiet -C $(BUILD)/c && $(IN_VENV) meson install --quiet --no-rebuild -C $(BUILD)/c
	@echo "installed under $(abspath $(PREFIX)); docs/c.md says how to go on"

# ---- tests ----------------------------------------------------------------------------------------------------------

# One folder of C builds for each way to test. Debug builds: asserts and the checks of lock ranks are on.
MESON_test := -Dextension=false -Ddefault_library=both -Dwerror=$(WERROR)
MESON_check := -Dextension=false -Ddefault_library=both -Dwerror=true
MESON_ubsan := -Dextension=false -Dlibrary=false -Dwerror=$(WERROR) -Doptimization=1 -Db_sanitize=undefined
MESON_tsan := -Dextension=false -Dlibrary=false -Dwerror=$(WERROR) -Doptimization=1 -Db_sanitize=thread
MESON_asan := -Dlibrary=false -Dwerror=$(WERROR) -Doptimization=1 -Db_sanitize=address,undefined \
              -Dpython.platlibdir=$(CURDIR)/$(BUILD)/asan/site -Dpython.purelibdir=$(CURDIR)/$(BUILD)/asan/site

$(BUILD)/%/build.ninja: meson.options Makefile .venv/run.stamp
	@$(IN_VENV) meson setup $(if $(wildcard $@),--reconfigure) $(BUILD)/$* -Dtests=true $(MESON_$*) >/dev/null || \
	  { cat $(BUILD)/$*/meson-logs/meson-log.txt; exit 1; }
	@touch $@

# $(call run-c-tests,folder,more arguments): quiet but for warnings of the compiler and the list of tests.
run-c-tests = $(IN_VENV) ninja --quiet -C $(BUILD)/$(1) && $(IN_VENV) meson test --no-rebuild --print-errorlogs -C $(BUILD)/$(1) $(2)
PYTEST := $(VENV_PYTHON) -m pytest

test: .venv/test.stamp .venv/package.stamp $(BUILD)/test/build.ninja ## every test: C, threads, Python
	@$(call run-c-tests,test)
	@$(IN_VENV) FOREBAY_CORE_LIBRARY=$(BUILD)/test/src/libforebay_core.a FOREBAY_C_BUILD=$(BUILD)/test \
	  FOREBAY_FAULTS_LIBRARY=$(BUILD)/test/tests/faults/forebay_faults.so $(PYTEST) $(ARGS)

check: .venv/dev.stamp .venv/package.stamp $(BUILD)/check/build.ninja ## what a commit needs, in under a minute
	@$(call run-c-tests,check,--suite unit --suite examples)
	@$(IN_VENV) FOREBAY_CORE_LIBRARY=$(BUILD)/check/src/libforebay_core.a FOREBAY_C_BUILD=$(BUILD)/check \
	  $(PYTEST) --quiet -m "not slow" $(ARGS)
	@$(MAKE) --no-print-directory lint

# The Python suite runs over an extension built with both sanitizers, which must then be loaded before Python is;
# libstdc++ too, or exceptions inside the Arrow library would be lost. ASan writes files, since Python and others leak
# at exit by design: scripts/own_leaks.py says what concerns us. UBSan knows only standard error: pytest leaves it open.
SANITIZER_LIBRARIES = $(foreach name,libasan.so libubsan.so libstdc++.so,$(shell cc -print-file-name=$(name)))
ASAN := abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
ASAN_LOGS := $(CURDIR)/$(BUILD)/asan/leaks

asan: export UBSAN_OPTIONS := print_stacktrace=1:halt_on_error=1
asan: .venv/test.stamp .venv/package.stamp $(BUILD)/asan/build.ninja ## C and Python tests under ASan and UBSan
	@export ASAN_OPTIONS=$(ASAN):detect_leaks=1; $(call run-c-tests,asan)
	@$(IN_VENV) meson install --quiet --no-rebuild -C $(BUILD)/asan
	@rm -rf $(ASAN_LOGS); mkdir -p $(ASAN_LOGS)
	@status=0; ( \
	  export LD_PRELOAD="$(SANITIZER_LIBRARIES)" PYTHONPATH=$(CURDIR)/$(BUILD)/asan/site PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=$(ASAN):detect_leaks=1:allocator_may_return_null=1:log_path=$(ASAN_LOGS)/log \
	    LSAN_OPTIONS=exitcode=0; \
	  $(VENV_PYTHON) -c 'import forebay._ext as e; assert "/asan/site/" in e.__file__, e.__file__'; \
	  $(PYTEST) --capture=sys -m "not measures" tests/python $(ARGS) ) || status=$$?; \
	$(VENV_PYTHON) scripts/own_leaks.py $(ASAN_LOGS) || status=1; exit $$status

ubsan: export UBSAN_OPTIONS := print_stacktrace=1:halt_on_error=1
ubsan: $(BUILD)/ubsan/build.ninja ## C tests under UBSan
	@$(call run-c-tests,ubsan)

# Kernels that place memory very randomly leave TSan no room for its shadow: setarch -R turns that off for the tests.
CAN_SETARCH = $(shell setarch -R true 2>/dev/null && echo yes)
tsan: export TSAN_OPTIONS := halt_on_error=1:second_deadlock_stack=1
tsan: $(BUILD)/tsan/build.ninja ## C tests and threaded stress under TSan
	@$(call run-c-tests,tsan,$(if $(CAN_SETARCH),--wrapper 'setarch -R'))

# The core and the target by clang, whose libFuzzer looks for new inputs and adds them to $(BUILD)/fuzz/found; what makes
# the target fail stays in $(BUILD)/fuzz. ARGS are libFuzzer's.
MESON_fuzz := -Dextension=false -Dlibrary=false -Dwerror=$(WERROR) -Doptimization=1 -Db_sanitize=address,undefined \
              -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
$(BUILD)/fuzz/build.ninja: export CC := clang
fuzz: export ASAN_OPTIONS := detect_leaks=1
fuzz: export UBSAN_OPTIONS := print_stacktrace=1:halt_on_error=1
fuzz: $(BUILD)/fuzz/build.ninja ## libFuzzer over Arrow data (needs clang): make fuzz ARGS=-max_total_time=600
	@$(IN_VENV) ninja --quiet -C $(BUILD)/fuzz tests/fuzz/fuzz_arrow
	@mkdir -p $(BUILD)/fuzz/found
	@cd $(BUILD)/fuzz && tests/fuzz/fuzz_arrow -max_len=160 -timeout=30 -print_final_stats=1 $(ARGS) found \
	  $(CURDIR)/tests/fuzz/corpus

# Programs are built as they are needed; --minutes says for how long, see tests/soak/run.py.
soak: .venv/test.stamp .venv/package.stamp $(foreach name,test asan tsan,$(BUILD)/$(name)/build.ninja) ## every campaign at length, summed up in tests/soak/results.md
	@$(IN_VENV) python tests/soak/run.py --builds $(BUILD) $(ARGS)

# ---- how the code looks ---------------------------------------------------------------------------------------------

fmt: .venv/dev.stamp ## format C and Python
	@.venv/bin/clang-format -i $(C_FILES)
	@.venv/bin/ruff check --quiet --select I --fix $(PYTHON_FOLDERS)
	@.venv/bin/ruff format --quiet $(PYTHON_FOLDERS)

lint: .venv/dev.stamp $(BUILD)/check/build.ninja ## formatting, types, spelling and the project's own rules
	@.venv/bin/clang-format --dry-run -Werror $(C_FILES)
	@.venv/bin/clang-tidy --quiet -p $(BUILD)/check $(wildcard src/*/*.c) 2>/dev/null
	@.venv/bin/ruff format --check --quiet $(PYTHON_FOLDERS) || \
	  { echo "these files are not formatted; run: make fmt"; .venv/bin/ruff format --check $(PYTHON_FOLDERS); }
	@.venv/bin/ruff check --quiet --output-format=concise $(PYTHON_FOLDERS)
	@$(VENV_PYTHON) -m mypy --no-error-summary
	@.venv/bin/codespell
	@$(IN_VENV) ninja -C $(BUILD)/check --quiet src/libforebay_core.a
	@$(VENV_PYTHON) tests/lint/lint.py --library $(BUILD)/check/src/libforebay_core.a
	@echo "lint: clean"

clean: ## remove builds, environments and caches; data sets stay
	@rm -rf build dist .venv .venv-bench* .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find $(PYTHON_FOLDERS) -name __pycache__ -type d -prune -exec rm -rf {} +
