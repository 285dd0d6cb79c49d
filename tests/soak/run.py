"""The long forms of every campaign, one after the other, inside a budget of time.

A campaign is a program that tries many cases, prints "cases: N" and exits with 0 where all of them passed. Each runs
once; those that take a seed run again with the next one as long as there is time. The summary is printed and put on top
of tests/soak/results.md. A program that fails leaves its output in the builds' folder, and its command is shown.

Usage: make soak ARGS='--minutes 60 --seed 7 --only NAME'
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.md")
KEPT_SUMMARIES = 10
NO_SEED = "-"
CORPUS = str(ROOT / "tests/fuzz/corpus")

HEAD = """# Long runs

What `make soak` did, the newest first: every campaign of tests/soak/run.py in its long form.
Cases are lives of a loader, limits, rounds or inputs, whatever the campaign tries.
"""

ASAN = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
TSAN = {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}


@dataclass(frozen=True)
class Campaign:
    """One program and how it is run. SEED among the arguments stands for a number that changes from run to run."""

    name: str
    build: str  # the folder of builds: test, asan or tsan
    program: str  # what is built there (C), or a file of this tree (Python)
    arguments: tuple[str, ...]
    timeout_s: int = 1200

    @property
    def has_seed(self) -> bool:
        return "SEED" in self.arguments


def in_c(
    program: str, arguments: tuple[str, ...], asan: tuple[str, ...], tsan: tuple[str, ...]
) -> list[Campaign]:
    """A C program, plain and under both sanitizers, where every case takes several times as long."""
    name = Path(program).name
    return [
        Campaign(name, "test", program, arguments),
        Campaign(f"{name}, ASan", "asan", program, asan),
        Campaign(f"{name}, TSan", "tsan", program, tsan),
    ]


# seed, random lives with two threads for each sweep, every N-th call; seed, rounds; and so on: see the programs.
CAMPAIGNS = [
    *in_c("tests/faults/sweep_calls", ("SEED", "8", "1"), ("SEED", "3", "1"), ("SEED", "3", "4")),
    *in_c("tests/faults/sweep_books", ("SEED", "500"), ("SEED", "150"), ("SEED", "50")),
    *in_c("tests/faults/sweep_budget", ("SEED", "1000"), ("SEED", "300"), ("SEED", "100")),
    *in_c("tests/stress/stress_loader", ("SEED", "1000"), ("SEED", "500"), ("SEED", "200")),
    Campaign("properties.py", "test", "tests/soak/properties.py", ("SEED", "500")),
    Campaign("fuzz_arrow", "test", "tests/fuzz/replay", (CORPUS, "SEED", "300000")),
    Campaign("fuzz_arrow, ASan", "asan", "tests/fuzz/replay", (CORPUS, "SEED", "100000")),
    Campaign("sweep_loader.py", "test", "tests/faults/sweep_loader.py", ("1",)),
    Campaign("sweep_limits.py", "test", "tests/faults/sweep_limits.py", ("500", "300")),
    Campaign("sweep_objects.py", "test", "tests/faults/sweep_objects.py", ("1",)),
    Campaign("sweep_files.py", "test", "tests/faults/sweep_files.py", ("1", "1", "2", "3")),
]


@dataclass
class Record:
    """What came of a campaign."""

    campaign: Campaign
    cases: int = 0
    seconds: float = 0.0
    runs: int = 0
    failure: str = ""
    seeds: list[int] = field(default_factory=list)

    def row(self) -> str:
        outcome = self.failure or ("passed" if self.runs else "no time left")
        seeds = f"{self.seeds[0]} to {self.seeds[-1]}" if self.seeds else NO_SEED
        return f"| {self.campaign.name} | {self.cases:,} | {self.seconds:.0f} | {outcome} | {seeds} |"


class Soak:
    """All runs of one call of this program."""

    def __init__(self, builds: Path) -> None:
        self.builds = builds
        self.logs = builds / "soak"
        self.built: set[tuple[str, str]] = set()

    def build(self, folder: str, target: str) -> None:
        if (folder, target) not in self.built:
            subprocess.run(["ninja", "--quiet", "-C", self.builds / folder, target], check=True)
            self.built.add((folder, target))

    def command(self, campaign: Campaign, seed: int) -> tuple[list[str], dict[str, str]]:
        """What is run, and what it adds to the environment."""
        arguments = [str(seed) if argument == "SEED" else argument for argument in campaign.arguments]
        if campaign.program == "tests/soak/properties.py":
            return [sys.executable, str(ROOT / campaign.program), *arguments], {}
        if campaign.program.endswith(".py"):
            target = "tests/faults/forebay_faults.so"
            self.build("test", target)
            python = [sys.executable, "-X", "faulthandler", str(ROOT / campaign.program)]
            return python + arguments, {"LD_PRELOAD": str((self.builds / "test" / target).resolve())}
        self.build(campaign.build, campaign.program)
        command = [str(self.builds / campaign.build / campaign.program), *arguments]
        if campaign.build == "tsan" and can_setarch():
            command = ["setarch", "-R", *command]
        return command, {"asan": ASAN, "tsan": TSAN}.get(campaign.build, {})

    def run(self, record: Record, seed: int) -> None:
        """Once, with this seed."""
        campaign = record.campaign
        command, more = self.command(campaign, seed)
        shown = " ".join(
            [f"{key}={shlex.quote(value)}" for key, value in more.items()] + [shlex.join(command)]
        )
        begin = time.monotonic()
        try:
            ended = subprocess.run(
                command,
                env={**os.environ, **more},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=campaign.timeout_s,
            )
            output, verdict = ended.stdout, f"FAILED ({ended.returncode})" if ended.returncode else ""
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
            verdict = f"HUNG after {campaign.timeout_s} s"
        cases = re.search(r"^cases: (\d+)$", output, re.MULTILINE)
        if not verdict and not cases:
            verdict = "FAILED (it does not say how many cases)"
        record.seconds += time.monotonic() - begin
        record.cases += int(cases[1]) if cases else 0
        record.runs += 1
        if campaign.has_seed:
            record.seeds.append(seed)
        if not verdict:
            return
        record.failure = f"{verdict}, seed {seed}" if campaign.has_seed else verdict
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{re.sub(r'[^a-z_]+', '-', campaign.name.lower())}-{seed}.log"
        log.write_text(output)
        print(f"\n{verdict}: {shown}\n{output[-3000:]}\nall of it in {log}\n", flush=True)


def can_setarch() -> bool:
    return bool(shutil.which("setarch")) and subprocess.run(["setarch", "-R", "true"]).returncode == 0


def commit() -> str:
    """What was tested."""

    def git(*arguments: str) -> str:
        ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return ended.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", ":!tests/soak") else ""
    return f"{git('rev-parse', '--short=12', 'HEAD') or 'unknown'}{changed}"


def summary(records: list[Record], seconds: float) -> str:
    """The dated table."""
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    cases = sum(record.cases for record in records)
    failed = sum(bool(record.failure) for record in records)
    lines = [
        f"## {today}, commit {commit()}",
        "",
        f"{cases:,} cases in {seconds / 60:.0f} minutes, {failed} of {len(records)} campaigns failed; "
        f"{os.cpu_count()} processors, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}.",
        "",
        "| campaign | cases | seconds | outcome | seeds |",
        "|---|---|---|---|---|",
        *(record.row() for record in records),
        "",
    ]
    return "\n".join(lines)


def write_results(newest: str) -> None:
    """The newest on top of those before it."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    earlier = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    kept = [newest, *(section.rstrip() + "\n" for section in earlier)][:KEPT_SUMMARIES]
    RESULTS.write_text(HEAD + "\n" + "\n".join(kept))


def run_all(soak: Soak, campaigns: list[Campaign], seed: int, budget_s: float) -> list[Record]:
    """Every campaign once, as far as the time goes; then those with seeds, in turn, for as long as it lasts."""
    end = time.monotonic() + budget_s
    records = [Record(campaign) for campaign in campaigns]
    turn = 0
    while time.monotonic() < end:
        due = [record for record in records if not record.failure and (turn == 0 or record.campaign.has_seed)]
        if not due:
            break
        for record in due:
            mean_s = record.seconds / record.runs if record.runs else 0.0
            if time.monotonic() + mean_s / 2 >= end:
                continue
            soak.run(record, seed + turn)
            said = record.failure or "passed"
            print(
                f"{record.campaign.name}: {record.cases:,} cases, {record.seconds:.0f} s, {said}", flush=True
            )
        turn += 1
    return records


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="time for all of them (30)")
    parser.add_argument("--seed", type=int, help="the first one; default: from the clock")
    parser.add_argument(
        "--only", action="append", help="campaigns whose name has this in it; may be repeated"
    )
    parser.add_argument(
        "--builds", type=Path, default=ROOT / "build", help="where test/, asan/ and tsan/ are"
    )
    parser.add_argument("--no-results", action="store_true", help="print the summary only")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() // 10**9 % 10**6
    campaigns = [
        campaign
        for campaign in CAMPAIGNS
        if not options.only or any(part in campaign.name for part in options.only)
    ]
    begin = time.monotonic()
    records = run_all(Soak(options.builds), campaigns, seed, options.minutes * 60)
    text = summary(records, time.monotonic() - begin)
    print("\n" + text)
    if not options.no_results:
        write_results(text)
    return 1 if not records or any(record.failure for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
