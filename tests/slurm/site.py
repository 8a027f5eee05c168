"""A real SLURM on this machine, for tests: controller, several node daemons, munge, and accounting where it is wanted.

All daemons listen on the loopback interface only. What had to be known (SLURM 22.05; of its files: `site_files.py`):

- Node names must resolve: the first one becomes the ranks' meeting point.
- A database on /dev/shm starts ten times faster than on a disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.processes import is_gone, kill, processes_of, started_on
from tests.slurm.site_files import slurm_conf, slurmdbd_conf

PACKAGES = [
    "slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server-core",
    "mariadb-client-core",
]  # fmt: skip
BINARIES = ("slurmctld", "slurmd", "sbatch", "munged", "slurmdbd", "mariadbd")


def lacking() -> str | None:
    """Why no cluster can be started here, after an attempt to install it; None where one can."""
    if os.geteuid() != 0:
        return "starting SLURM's daemons takes root"
    if all(map(shutil.which, BINARIES)):
        return None
    if shutil.which("apt-get") is None:
        return "SLURM is not installed and there is no apt-get to install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    waiting = ["-q", "-o", "DPkg::Lock::Timeout=300"]  # another may be installing
    install = ["apt-get", "install", *waiting, "-y", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update", *waiting], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            return f"SLURM could not be installed: {' '.join(command[:2])} says {done.stderr.strip()[-300:]}"
    return None


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def free_ports(first: int, count: int = 20) -> int:
    """The start of the next range of unused ports from `first` on, below those that the kernel gives to connections."""
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for start in range(first, below - count, count):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(start, start + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return start
    raise OSError(f"no {count} unused ports from {first} to {below}")


@dataclass
class Site:
    """One cluster. `start` and `stop` it; `env` is what its clients need."""

    folder: Path
    port: int
    nodes: int = 4
    cpus: int = 8
    gpus: int = 2
    accounting: bool = True
    user_signal: bool = True
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._database = Path("/dev/shm") / f"pdstudy-slurm-{self.port}"

    # --- starting and stopping

    def start(self) -> None:
        for name in ("run", "log", "state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._name_nodes()
        for number in range(self.gpus):
            # A GPU that SLURM can hand out and nobody can compute on: a second null device.
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
        self._configure()
        self._start_munge()
        if self.accounting:
            self._start_accounting()
        self.ask("slurmctld")
        for number in range(1, self.nodes + 1):
            self.start_node(f"n{number}")
        self._await_nodes()

    def _await_nodes(self) -> None:
        try:
            wait_until(lambda: self._idle() == self.nodes, 60, "idle nodes")
        except TimeoutError as error:
            said = [self.ask("sinfo", "-N", "-o", "%N %T %E")]
            said += [f"{log.name}: {log.read_text()[-1500:]}" for log in sorted((self.folder / "log").iterdir())]
            raise TimeoutError("\n".join([str(error), *said])) from error

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.ask("scancel", "-u", "root")
            time.sleep(0.5)
        for number in range(1, self.nodes + 1):
            self.kill_node(f"n{number}")
        for daemon in ("slurmctld", "slurmdbd", "db", "munged"):
            self._end(self.folder / "run" / f"{daemon}.pid")
        shutil.rmtree(self._database, ignore_errors=True)

    def _name_nodes(self) -> None:
        hosts = Path("/etc/hosts")
        known = hosts.read_text().split()
        missing = [f"n{i}" for i in range(1, self.nodes + 1) if f"n{i}" not in known]
        if missing:
            with hosts.open("a") as file:
                file.writelines(f"127.0.0.1 {name}\n" for name in missing)

    def _configure(self) -> None:
        (self.folder / "slurm.conf").write_text(slurm_conf(self))
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/dev/gpu[0-{self.gpus - 1}]\n")

    def _start_munge(self) -> None:
        run, key = self.folder / "run", self.folder / "munge.key"
        key.write_bytes(os.urandom(256))
        key.chmod(0o400)
        self.ask("munged", "--force", f"--socket={run}/munge.sock", f"--key-file={key}", f"--pid-file={run}/munged.pid",
                 f"--log-file={self.folder}/log/munged.log", f"--seed-file={run}/munge.seed")  # fmt: skip

    def _start_accounting(self) -> None:
        run, log, data = self.folder / "run", self.folder / "log", self._database
        shutil.rmtree(data, ignore_errors=True)
        small = "--innodb-log-file-size=4M"
        self.ask("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
                 "--skip-test-db", "--user=root", small)  # fmt: skip
        subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={run}/db.sock", "--bind-address=127.0.0.1",
             f"--port={self.port + 2}", "--user=root", f"--pid-file={run}/db.pid", small,
             "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
             "--performance-schema=off", f"--log-error={log}/db.log"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        grant = "create user slurm@'127.0.0.1' identified by 'x'; grant all on slurm_acct.* to slurm@'127.0.0.1'"
        sql = ["mariadb", "--no-defaults", "-uroot", "-S", f"{run}/db.sock", "-e", grant]
        wait_until(lambda: self.works(*sql), 60, "the database")
        path = self.folder / "slurmdbd.conf"
        path.write_text(slurmdbd_conf(self))
        path.chmod(0o600)
        self.ask("slurmdbd")
        wait_until(lambda: self.works("sacctmgr", "-i", "add", "cluster", "test"), 60, "slurmdbd")
        self.ask("sacctmgr", "-i", "add", "account", "lab", "cluster=test")
        self.ask("sacctmgr", "-i", "add", "user", "root", "account=lab", "cluster=test")

    # --- what an operator, or an accident, does

    def start_node(self, name: str) -> None:
        self.ask("slurmd", "-N", name)

    def kill_node(self, name: str) -> None:
        """The node's daemon, its step daemons and all that they started die at once."""
        pid = self.folder / "run" / f"slurmd.{name}.pid"
        for victim in [*started_on(name, self._conf), *([int(pid.read_text())] if pid.exists() else [])]:
            kill(victim)
        pid.unlink(missing_ok=True)

    def kill_daemon(self, name: str) -> None:
        """Only the node's daemon dies; what runs on the node goes on."""
        pid = self.folder / "run" / f"slurmd.{name}.pid"
        kill(int(pid.read_text()))
        pid.unlink(missing_ok=True)

    def restart_controller(self) -> None:
        """The controller is killed and comes back with what it had written down."""
        pid = self.folder / "run" / "slurmctld.pid"
        kill(int(pid.read_text()))
        pid.unlink(missing_ok=True)
        wait_until(lambda: self.works("slurmctld"), 20, "slurmctld")
        wait_until(lambda: self.works("squeue"), 30, "the controller's answer")

    def down(self, name: str) -> None:
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def resume(self, name: str) -> None:
        self.works("scontrol", "update", f"nodename={name}", "state=resume")

    def limit_submitted(self, count: int) -> None:
        """At most so many jobs of one user in the queue; -1 for any number."""
        self.ask("sacctmgr", "-i", "modify", "qos", "normal", "set", f"MaxSubmitJobsPerUser={count}")
        wait_until(lambda: (f"MaxSubmitJobsPU={count}(" in self.ask("scontrol", "show", "assoc_mgr", "flags=qos")) or
                   count < 0, 20, "the controller to hear of the limit")  # fmt: skip

    def processes(self, job: str) -> list[int]:
        """Python processes of a job (raw id)."""
        return processes_of(job, self._conf)

    @property
    def _conf(self) -> bytes:
        return os.fsencode(self.env["SLURM_CONF"])

    # --- asking

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=90)
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, words, done.stdout, f"{done.stdout}{done.stderr}")
            error.add_note(error.stderr)  # what it said is not in the error's own text
            raise error
        return done.stdout

    def works(self, *words: str) -> bool:
        try:
            self.ask(*words)
        except subprocess.SubprocessError:
            return False
        return True

    def _idle(self) -> int:
        with contextlib.suppress(subprocess.SubprocessError, ValueError):
            return int(self.ask("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D") or 0)
        return 0

    def _end(self, pid_file: Path) -> None:
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: is_gone(pid), 10, pid_file.name)
        kill(pid)
        pid_file.unlink(missing_ok=True)
