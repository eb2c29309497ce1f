#!/bin/sh
# typer 0.20.0 with bash: a completion of `key=value` is never asked for; the option's own completion gets no word.
#
# Output seen (what the command's completion was asked to complete, and what bash made of the line):
#     asked after  app -o le<Tab>         ['le']
#     line after   app -o le<Tab>         app -o left=
#     asked after  app -o left=li<Tab>    []
#     line after   app -o left=li<Tab>    app -o left=li
#     the same function, given the word that was typed: ['left=linear']
#
# Guess before running it: whoever completes `le` to `left=` completes `left=li` to `left=linear`, since a shell's word ends
# at a blank and the program takes `left=li` as one argument. Bash's completion has other words than bash: `=` is in its
# COMP_WORDBREAKS, so the script that typer installs passes on `left`, `=` and `li` as three words. The word to complete
# is then an argument of its own after `=`, and the option's function isn't called.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet typer==0.20.0 click==8.3.1
cat >app.py <<'PY'
import pathlib
import typer

KNOWN = ["left=linear", "left=logistic"]


def complete(incomplete: str):
    with pathlib.Path("asked").open("a") as log:
        log.write(incomplete + "\n")
    if "=" in incomplete:
        return [word for word in KNOWN if word.startswith(incomplete)]
    return [word for word in ("left=",) if word.startswith(incomplete)]


app = typer.Typer()


@app.command()
def main(option: list[str] = typer.Option([], "-o", autocompletion=complete)) -> None:
    print(option)


if __name__ == "__main__":
    app(prog_name="app")
PY
cat >app <<SH
#!/bin/sh
exec "$folder/environment/bin/python" "$folder/app.py" "\$@"
SH
chmod +x app
PATH=$folder:$PATH
export PATH
python3 - <<'PY'
import os
import pathlib
import pty
import re
import select
import subprocess
import time

script = subprocess.run(
    ["app"], env={**os.environ, "_APP_COMPLETE": "source_bash"}, capture_output=True, text=True
).stdout
assert "COMP_WORDS" in script, script
pathlib.Path("completion.bash").write_text(script)


def press_tab(line):
    """Type a line and Tab in an interactive bash; return what it asked the program, and its line."""
    pathlib.Path("asked").unlink(missing_ok=True)
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(PS1="> ", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    seen = ""

    def read(seconds):
        nonlocal seen
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 4096).decode(errors="replace")

    read(1)
    os.write(terminal, b"source ./completion.bash\n")
    read(1)
    seen = ""
    os.write(terminal, line.encode() + b"\t")
    read(6)
    os.close(terminal)
    os.waitpid(process, 0)
    asked = pathlib.Path("asked")
    shown = re.search(r"app -o [^\s\x07\x08]*", seen)
    return (asked.read_text().split() if asked.exists() else []), shown.group() if shown else seen


found = []
for line in ("app -o le", "app -o left=li"):
    asked, shown = press_tab(line)
    print(f"asked after  {line + '<Tab>':22} {asked}")
    print(f"line after   {line + '<Tab>':22} {shown}")
    found.append((asked, shown))
given = subprocess.run(
    [pathlib.Path("environment/bin/python"), "-c", "import app; print(app.complete('left=li'))"],
    capture_output=True, text=True, check=True,
).stdout.strip()
print("the same function, given the word that was typed:", given)
assert given == "['left=linear']"
assert found[0] == (["le"], "app -o left="), found
assert found[1] == ([], "app -o left=li"), found
PY
