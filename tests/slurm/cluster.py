"""A real SLURM of two nodes here: munge, accounting, slurmctld and two slurmd, of which one has fake GPUs. No systemd.

The partition `cpu` has the node without GPUs alone, so that a step which asks for one must go to the partition `gpu`.

Everything lies in one folder. The one fixed path is the link /run/slurm/conf, since jobs look for their configuration
there (the executor plugin takes SLURM_* variables out of their environment). It is taken away again by `stop`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

CONF_LINK = Path("/run/slurm/conf")
SITE_CONF = Path("/etc/slurm/slurm.conf")
PROGRAMS = ["munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch", "srun", "sacct"]
START_S = 60
NODES = ["plain", "withgpus"]


def why_not() -> str | None:
    """The reason why a cluster cannot be started here, or None."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return (
            f"no SLURM on this machine: {', '.join(missing)} not found (apt-get install --no-install-recommends"
            " slurm-wlm munge slurmdbd mariadb-server-core slurm-wlm-mysql-plugin)"
        )
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root (slurmd starts jobs, and /run/slurm/conf is written)"
    if SITE_CONF.exists():
        return f"this machine has a SLURM of its own ({SITE_CONF})"
    if CONF_LINK.exists() and not CONF_LINK.is_symlink():
        return f"{CONF_LINK} is not ours"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


class Cluster:
    """`with Cluster(folder) as cluster:` gives a running cluster; leaving it ends all of its jobs and daemons."""

    def __init__(self, folder: Path, cpus: int = 16, gpus: int = 4, min_job_age: int = 600):
        self.folder, self.cpus, self.gpus, self.min_job_age = Path(folder), cpus, gpus, min_job_age
        self.host = socket.gethostname().split(".")[0]
        self.daemons: list[tuple[str, subprocess.Popen]] = []

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    # ------------------------------------------------------------------------------------------------ start and stop

    def start(self) -> None:
        """Raises RuntimeError, with the daemon's log, for whatever does not come up."""
        self._write_files()
        CONF_LINK.parent.mkdir(parents=True, exist_ok=True)
        CONF_LINK.unlink(missing_ok=True)  # left by a test run that was killed
        CONF_LINK.symlink_to(self.folder / "conf")

        log, munge = self.folder / "log", self.folder / "munge"
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={log}/munged.own", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._wait("munged", (munge / "socket").exists)

        data = self.folder / "mariadb"
        basics = ["--no-defaults", "--user=root", f"--datadir={data}"]
        tables = Path("/usr/share/mysql/mysql_system_tables.sql").read_text()
        done = subprocess.run(
            [_program("mariadbd"), *basics, "--bootstrap", "--skip-grant-tables"],
            check=False,
            input=f"create database mysql;\nuse mysql;\n{tables}",
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"mariadbd --bootstrap: {done.stderr}")
        self._daemon(
            "mariadbd", *basics, f"--socket={data}/socket", f"--port={self.ports['mariadb']}", f"--pid-file={data}/pid",
            "--bind-address=127.0.0.1", "--skip-grant-tables", "--innodb-buffer-pool-size=64M",
        )  # fmt: skip
        self._wait("mariadbd", lambda: _listens(self.ports["mariadb"]))
        self._daemon("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: _listens(self.ports["slurmdbd"]))
        self.command("sacctmgr", "-i", "add", "cluster", "test")
        self._daemon("slurmctld", "-D", "-c", "-f", str(self.folder / "conf/slurm.conf"))
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node, "-f", str(self.folder / "conf/slurm.conf"))
        self._wait("slurmd", self._all_up)

    def _all_up(self) -> bool:
        """Whether every node is up; on one that was up before a job may still run."""
        states = self.command("sinfo", "-h", "-N", "-o", "%T", check=False).split()
        return len(states) >= len(NODES) and set(states) <= {"idle", "mixed", "allocated", "completing"}

    def stop(self) -> None:
        """End the jobs, then the daemons in reverse order, by their own process ids; take the link away."""
        names = [name for name, _ in self.daemons]
        if "slurmctld" in names:
            self.command("scancel", "--user=root", check=False)
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline and self.command("squeue", "-h", check=False).strip():
                time.sleep(0.2)
        left = self._job_processes() if "slurmd" in names else []  # of jobs that would not end
        for _, process in reversed(self.daemons):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        _kill(left)
        self.daemons.clear()
        if CONF_LINK.is_symlink() and CONF_LINK.readlink() == self.folder / "conf":
            CONF_LINK.unlink()
            if not any(CONF_LINK.parent.iterdir()):
                CONF_LINK.parent.rmdir()

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.folder / "log" / name).open("wb") as log:
            process = subprocess.Popen(
                [_program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | {"SLURM_CONF": str(self.folder / "conf/slurm.conf")},
                start_new_session=True,
            )
        self.daemons.append((name, process))

    def _wait(self, name: str, ready) -> None:
        deadline = time.monotonic() + START_S
        while not ready():
            dead = [other for other, process in self.daemons if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                texts = [f"--- {path.name}\n{path.read_text()[-2000:]}" for path in (self.folder / "log").iterdir()]
                raise RuntimeError(f"{name} is not ready; ended: {dead}\n" + "\n".join(texts))
            time.sleep(0.05)

    def stop_node(self) -> None:
        """The nodes die: each slurmd and all that runs under it are killed at once."""
        dead = [process for name, process in self.daemons if name == "slurmd"]
        self.daemons = [(name, process) for name, process in self.daemons if name != "slurmd"]
        _kill([*(psutil.Process(process.pid) for process in dead), *self._job_processes()])
        for process in dead:
            process.wait()

    @contextlib.contextmanager
    def settings(self, **values: str | int):
        """Other lines of slurm.conf for a while; the controller is started anew with them."""
        path = self.folder / "conf/slurm.conf"
        before = path.read_text()
        kept = [line for line in before.splitlines() if line.split("=")[0] not in values]
        path.write_text("\n".join([*(f"{key}={value}" for key, value in values.items()), *kept]) + "\n")
        self._new_controller()
        try:
            yield
        finally:
            path.write_text(before)
            self._new_controller()

    def _new_controller(self) -> None:
        self.stop_controller()
        self.start_controller()
        self._wait("slurmctld", self._all_up)

    def stop_controller(self) -> None:
        """SLURM does not answer any more; jobs go on."""
        (index,) = [i for i, (name, _) in enumerate(self.daemons) if name == "slurmctld"]
        _, process = self.daemons.pop(index)
        process.kill()
        process.wait()

    def start_controller(self) -> None:
        """A new slurmctld after `stop_controller`, with what the old one knew."""
        self._daemon("slurmctld", "-D", "-f", str(self.folder / "conf/slurm.conf"))
        self._wait("slurmctld", lambda: self.command("sinfo", "-h", check=False).strip())

    def start_node(self) -> None:
        """New slurmds after `stop_node`."""
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node, "-f", str(self.folder / "conf/slurm.conf"))
        self._wait("slurmd", self._all_up)

    def _job_processes(self) -> list[psutil.Process]:
        """Every process of every job (slurmd gives them this cluster's configuration), and the step daemons above them."""
        own = {process.pid for _, process in self.daemons}
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("SLURM_CONF", "").startswith(f"{self.folder}/"):
                    parents = [one for one in process.parents() if one.name().startswith("slurmstepd")]
                    found |= {one.pid: one for one in [process, *parents]}
        return [process for pid, process in found.items() if pid not in own]

    # ------------------------------------------------------------------------------------------------ questions

    def command(self, *words: str, check: bool = True) -> str:
        """Standard output of a SLURM command."""
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def jobs(self, duplicates: bool = False) -> list[dict[str, str]]:
        """What accounting says of every job: id, rule, partition, state, memory, GPUs, time limit, submission, start, end.

        `rule` is the comment that Snakemake's plugin gives ("rule_NAME[_wildcards_...]"). With `duplicates` a job that was
        requeued has one row for each time that it ran.
        """
        fields = "JobIDRaw,Comment%200,Partition,State%30,ExitCode,AllocTRES%200,TimelimitRaw,Submit,Start,End"
        names = [field.split("%")[0] for field in fields.split(",")]
        flags = ["-X", "-n", "-P", "-a", "-S", "now-1day"] + ["-D"] * duplicates
        rows = [line.split("|") for line in self.command("sacct", *flags, f"--format={fields}").splitlines()]
        return [dict(zip(names, row, strict=True)) | {"tres": _tres(row[names.index("AllocTRES")])} for row in rows]

    def queued(self) -> dict[str, str]:
        """Job ids of the jobs that wait or run, by rule (the comment that the plugin gives)."""
        return {
            rule: job
            for job, rule in (line.split() for line in self.command("squeue", "-h", "-o", "%i %k").splitlines())
        }

    def wait_for(self, question, timeout_s: float = 60, every_s: float = 0.3):
        """The first truthy answer of `question()`; raises TimeoutError with the queue as it then is."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if answer := question():
                return answer
            time.sleep(every_s)
        raise TimeoutError(f"not within {timeout_s} s; the queue:\n{self.command('squeue', '--states=all')}")

    # ------------------------------------------------------------------------------------------------ files

    def _write_files(self) -> None:
        for name in ["conf", "log", "munge", "mariadb", "spool/ctld", *(f"spool/{node}" for node in NODES)]:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge/key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        (self.folder / "munge").chmod(0o755)
        for n in range(self.gpus):
            (self.folder / f"fakegpu{n}").symlink_to("/dev/null")
        self.ports = dict(zip(["ctld", "plain", "withgpus", "slurmdbd", "mariadb"], _free_ports(5), strict=True))
        conf = self.folder / "conf"
        node = f"NodeHostname={self.host} NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory=64000"
        (conf / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={self.host}(127.0.0.1)
SlurmctldPort={self.ports["ctld"]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.folder}/munge/socket,cred_expire=5
StateSaveLocation={self.folder}/spool/ctld
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldPidFile={self.folder}/spool/ctld.pid
SlurmdPidFile={self.folder}/spool/%n.pid
SlurmctldLogFile={self.folder}/log/slurmctld.own
SlurmdLogFile={self.folder}/log/%n.own
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=UsePss,OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,bf_continue
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=5
MinJobAge={self.min_job_age}
OverTimeLimit=0
EnforcePartLimits=ALL
MaxJobCount=20000
GresTypes=gpu
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.ports["slurmdbd"]}
AccountingStoragePass={self.folder}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
NodeName=plain {node} Port={self.ports["plain"]}
NodeName=withgpus {node} Port={self.ports["withgpus"]} Gres=gpu:fake:{self.gpus}
PartitionName=cpu Nodes=plain Default=YES DefMemPerCPU=200 MaxTime=1440
PartitionName=gpu Nodes=withgpus Default=NO DefMemPerCPU=200 MaxTime=1440
"""
        )
        (conf / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=withgpus Name=gpu Type=fake File={self.folder}/fakegpu[0-{self.gpus - 1}]\n"
        )
        (conf / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        dbd = conf / "slurmdbd.conf"
        dbd.write_text(
            f"""AuthType=auth/munge
AuthInfo=socket={self.folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.ports["slurmdbd"]}
SlurmUser=root
PidFile={self.folder}/spool/dbd.pid
LogFile={self.folder}/log/slurmdbd.own
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.ports["mariadb"]}
StorageUser=root
StorageLoc=slurm_acct_db
"""
        )
        dbd.chmod(0o600)


def _kill(processes: list[psutil.Process]) -> None:
    """All at once: none lives long enough to report another's end."""
    for method in ("suspend", "kill"):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, method)()


def _tres(text: str) -> dict[str, str]:
    """ "billing=1,cpu=1,gres/gpu=2,mem=400M" as a dict."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
