#!/bin/sh
# Typer 0.29.2: a call with a single `str` option imports Pydantic; the same program's --help doesn't.
#
#     def greet(name: str = "you"): ...
#
#     python app.py --help    typer without Pydantic
#     python app.py           typer and Pydantic with its core
#
# Output seen:
#     --help         pydantic imported: no
#     (no option)    pydantic imported: yes
#     --name me      pydantic imported: yes
#
# Guess before running: no in all three. A text needs no conversion, Typer's own parser has it already, and
# --help of the same program builds the same parameters. In fact every parameter is passed through a Pydantic
# TypeAdapter as soon as a value is taken, defaults included. For a command line that is to answer at once this
# is the larger part of the time: about 0.1 s of processor time before the program's first line. Modules that
# are loaded only when called don't help, and a measurement of --help doesn't show it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check typer==0.29.2 pydantic==2.14.4
cat > "$folder/app.py" <<'PY'
import atexit
import sys

import typer


def greet(name: str = "you") -> None:
    pass


atexit.register(lambda: print("pydantic imported:", "yes" if "pydantic" in sys.modules else "no"))
typer.run(greet)
PY
cd "$folder"
for words in "--help" "" "--name me"; do
  # shellcheck disable=SC2086
  answer=$(venv/bin/python app.py $words | tail -n 1)
  echo "'$words' -> $answer"
  case "$words" in
    --help) test "$answer" = "pydantic imported: no" ;;
    *) test "$answer" = "pydantic imported: yes" ;;
  esac
done
