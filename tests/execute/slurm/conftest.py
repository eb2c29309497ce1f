"""A Slurm for tests: one of paper, whose programs say what a test tells them, and a real one.

The real one has its own daemons, key and ports in one folder, and is stopped by its pids. Debian's packages
`slurm-wlm` and `munge` have all that it needs. Several may run at once, beside the machine's own.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_WAIT_S = 60

_CONFIGURATION = """\
ClusterName=comface
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout={node_timeout_s}
KillWait=2
MessageTimeout=3
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cores} RealMemory=1000
PartitionName=main Nodes={node} Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes={node} MaxTime=60 State=UP PriorityTier=2
"""


class Cluster:
    """A running Slurm of one node.

    Args:
        folder: An empty folder with a short path: sockets lie in it.
        cores: How many cores the node offers; it may offer more than the machine has.
        node_timeout_s: Seconds after which a node that doesn't answer counts as lost.

    Attributes:
        environment: Variables by which programs find this Slurm.
    """

    def __init__(self, folder: Path, cores: int = 2, node_timeout_s: int = 6) -> None:
        self._folder = folder
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: Mapping[str, str] = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        (folder / "munge").mkdir()
        folder.chmod(0o711)  # munged wants a socket that everybody can reach; its key stays private
        (folder / "state").mkdir()
        key = folder / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        text = _CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            node="node",
            user=getpass.getuser(),
            cores=cores,
            node_timeout_s=node_timeout_s,
            controller_port=_free_port(),
            node_port=_free_port(),
        )
        (folder / "slurm.conf").write_text(text)

    def start(self) -> None:
        """Start all daemons and wait until the node takes jobs."""
        munge = self._folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        self._start(
            "munged", "--foreground", *(f"--{option}={munge / name}" for option, name in files.items())
        )
        self._wait(lambda: (munge / "socket").exists(), "munged")
        self._start("slurmctld", "-D")
        self._wait(lambda: "UP" in self._ask("scontrol", "ping"), "slurmctld")
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon and wait until it takes jobs."""
        self._start("slurmd", "-D", "-N", "node")
        self._wait(lambda: self.node_state() in ("IDLE", "MIXED", "ALLOCATED"), "slurmd")

    def fail_node(self) -> None:
        """Take the node's daemon away, as a machine does that loses its power, and wait until Slurm knows."""
        self._stop("slurmd")
        self._wait(lambda: self.node_state().startswith("DOWN"), "a lost node")

    def node_state(self) -> str:
        """Return the state of the node, such as `IDLE` or `DOWN`."""
        shown = self._ask("scontrol", "show", "node", "node", "--oneliner")
        return shown.partition("State=")[2].partition(" ")[0].rstrip("*")

    def stop(self) -> None:
        """Cancel what runs, wait for its end, and stop the daemons."""
        if "slurmctld" in self._daemons:
            if "slurmd" not in self._daemons:
                self.start_node()  # It ends the jobs that a lost node was running.
            self._ask("scancel", "--user", getpass.getuser())
            with contextlib.suppress(AssertionError):
                self._wait(lambda: not self._ask("squeue", "--noheader"), "the end of its jobs")
        for name in list(self._daemons)[::-1]:
            self._stop(name)

    def logs(self) -> str:
        """Return the last lines of all daemons, for the message of a test that fails."""
        return "\n".join(
            f"== {path.name}\n" + path.read_text(errors="replace")[-3000:]
            for path in sorted(self._folder.glob("*.log"))
        )

    def _start(self, program: str, *options: str) -> None:
        command = [str(shutil.which(program, path=_PATH)), *options]
        with (self._folder / f"{program}.out.log").open("ab") as log:
            self._daemons[program] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _stop(self, program: str) -> None:
        daemon = self._daemons.pop(program)
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _ask(self, *command: str) -> str:
        answer = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=_WAIT_S
        )
        return answer.stdout

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _WAIT_S
        while not reached():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            assert not ended, f"{ended[0]} ended\n{self.logs()}"
            assert time.monotonic() < end, f"waited in vain for {what}\n{self.logs()}"
            time.sleep(0.1)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A running cluster that this process and its commands find; its folder is removed at the end."""
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]:
        pytest.skip(f"no Slurm here, {', '.join(missing)} missing: apt-get install slurm-wlm munge")
    # A socket's path has room for about a hundred characters, which pytest's folders may use up.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name))
        for variable, value in cluster.environment.items():
            monkeypatch.setenv(variable, value)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


_SBATCH = """\
#!/bin/sh
cd {folder}
if [ -e refusal ]; then cat refusal >&2; exit 1; fi
number=$(ls submission-* 2>/dev/null | wc -l)
cp "$1" submission-$number
env > environment-$number
echo Submitted batch job $((number + 1))
"""
_SQUEUE = """\
#!/bin/sh
cd {folder}
echo "$@" >> asked
if [ -e fault ]; then cat fault >&2; exit 1; fi
cat queue
if [ ! -s queue ]; then echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; fi
"""
_SACCT = """\
#!/bin/sh
cat {folder}/accounts
"""


class PaperSlurm:
    """Programs of Slurm that write down what they are told and answer what a test wants.

    Args:
        folder: An empty folder for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, text in {"sbatch": _SBATCH, "squeue": _SQUEUE, "sacct": _SACCT, "srun": ""}.items():
            path = self.programs / name
            path.write_text(text.format(folder=folder))
            path.chmod(0o755)
        self.show({})
        self.keep({})

    def show(self, states: Mapping[str, str]) -> None:
        """Let `squeue` show jobs in states, and no others."""
        self._write("queue", states)

    def keep(self, states: Mapping[str, str]) -> None:
        """Let `sacct` show jobs in states."""
        self._write("accounts", states)

    def refuse(self, reason: str) -> None:
        """Let `sbatch` refuse what is submitted from now on."""
        (self._folder / "refusal").write_text(reason)

    def break_down(self, reason: str) -> None:
        """Let `squeue` fail from now on."""
        (self._folder / "fault").write_text(reason)

    def submissions(self) -> list[str]:
        """Return what was given to `sbatch`."""
        return [path.read_text() for path in sorted(self._folder.glob("submission-*"))]

    def environments(self) -> list[str]:
        """Return the environment of each call of `sbatch`."""
        return [path.read_text() for path in sorted(self._folder.glob("environment-*"))]

    def questions(self) -> list[str]:
        """Return what `squeue` was asked."""
        asked = self._folder / "asked"
        return asked.read_text().splitlines() if asked.exists() else []

    def _write(self, name: str, states: Mapping[str, str]) -> None:
        (self._folder / name).write_text("".join(f"{job}|{state}\n" for job, state in states.items()))


@pytest.fixture
def paper_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PaperSlurm:
    folder = tmp_path / "slurm"
    folder.mkdir()
    slurm = PaperSlurm(folder)
    monkeypatch.setenv("PATH", f"{slurm.programs}:{os.environ['PATH']}")
    return slurm
