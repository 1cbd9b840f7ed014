"""A real SLURM on this machine: three nodes on loopback, each with two pretend GPUs.

It needs root and Debian's packages slurmctld, slurmd, slurm-client and munge. It has its own
configuration, keys and ports, and ends with the tests. A job that is put back waits until the
credentials of its first run have expired: 12 s here, two minutes where nobody says otherwise.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

NODES = ("n1", "n2", "n3")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "munged", "unshare", "setpriv")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=12
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=5
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=500
"""
NODE = (
    "NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=2 Boards=1 Sockets=1 "
    "CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN"
)


def call(*command, timeout=60):
    """What a command prints; it must succeed."""
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert run.returncode == 0, (command, run.stdout, run.stderr)
    return run.stdout


def until(condition, seconds=400):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true in {seconds} s"
        time.sleep(0.1)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def write_configuration(folder):
    folder.chmod(0o755)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    port, *ports = free_ports(1 + len(NODES))
    nodes = [NODE.format(name=name, port=at) for name, at in zip(NODES, ports, strict=True)]
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(host=host, port=port, folder=folder, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    for gpu in range(2):  # SLURM wants character devices: these are /dev/null
        call("mknod", str(folder / f"nvidia{gpu}"), "c", "1", "3")
    (folder / "gres.conf").write_text(f"NodeName=n[1-3] Name=gpu File={folder}/nvidia[0-1]\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    hosts = Path("/etc/hosts").read_text() + "".join(f"\n127.0.0.1 {node}" for node in NODES)
    (folder / "hosts").write_text(hosts + "\n")


@contextlib.contextmanager
def daemon(folder, *command):
    """A daemon that ends with the tests, however they end."""
    with open(folder / "daemons.log", "ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def started(folder):
    write_configuration(folder)
    with contextlib.ExitStack() as stack:
        munge = ("munged", "--foreground", "--force", f"--key-file={folder}/key")
        files = {"socket": "munge.sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        paths = [f"--{option}={folder}/{name}" for option, name in files.items()]
        stack.enter_context(daemon(folder, *munge, *paths))
        until(lambda: (folder / "munge.sock").exists())
        stack.enter_context(daemon(folder, "slurmctld", "-D"))
        for node in NODES:  # each has its own host name, seen by nobody else
            hosts = f"mount --bind '{folder}/hosts' /etc/hosts"
            script = f"{hosts} && hostname {node} && exec slurmd -D"
            unshared = ("unshare", "--uts", "--mount", "--", "sh", "-c", script)
            stack.enter_context(daemon(folder, *unshared))
        stack.callback(end_all_jobs)
        until(lambda: idle() == [*NODES])
        yield


def idle():
    answer = subprocess.run(
        ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], capture_output=True, text=True, timeout=60
    )
    return answer.stdout.split()


def end_all_jobs():
    subprocess.run(["scancel", "--me"], capture_output=True, timeout=60)
    with contextlib.suppress(AssertionError):
        until(lambda: not call("squeue", "--noheader", "--me"), 20)


class Slurm:
    """Its commands, as in `slurm("squeue", "--me")`, and waiting for what they bring about."""

    def until(self, condition):
        """Wait for it; where that is in vain, tell how the jobs and the nodes are."""
        try:
            until(condition)
        except AssertionError as error:
            shown = [call("scontrol", "show", what) for what in ("jobs", "nodes")]
            log = Path(os.environ["SLURM_CONF"]).with_name("slurmctld.log").read_text()
            raise AssertionError("\n".join([str(error), *shown, log[-8000:]])) from error

    def __call__(self, *command):
        return call(*command)

    def states(self):
        """Id and state of each job that has not ended."""
        return dict(line.split() for line in call("squeue", "-h", "-r", "-o", "%i %T").splitlines())


@pytest.fixture(scope="session")
def slurm():
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"SLURM's packages are missing: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("nodes with names of their own need root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            with started(folder):
                yield Slurm()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
