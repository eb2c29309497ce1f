"""Processor seconds of commands that only tell what there is, beside Python with the library of commands.

Each figure is the least of several starts, which take turns. Run: python timings/startup.py
"""

from __future__ import annotations

import resource
import subprocess
import sys

ROUNDS = 7
COMMANDS = ("--help", "list methods", "list tasks", "list protocols", "show farl", "show age", "show linear")


def processor_seconds(*words: str) -> float:
    """Return user and system seconds of one start of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    starts = {"python -c pass": ("-c", "pass"), "python -c 'import typer'": ("-c", "import typer")}
    starts |= {f"comface-bench {words}": ("-m", "comface_bench", *words.split()) for words in COMMANDS}
    least = dict.fromkeys(starts, float("inf"))
    for _ in range(ROUNDS):
        for name, words in starts.items():
            least[name] = min(least[name], processor_seconds(*words))
    reference = least["python -c 'import typer'"]
    for name, seconds in least.items():
        print(f"{name:32} {seconds:5.2f} s  {seconds / reference:4.1f} × import typer")


if __name__ == "__main__":
    main()
