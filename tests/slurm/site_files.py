"""The configuration of a test cluster: what slurm.conf and slurmdbd.conf say.

- slurm.conf takes one key per line, but for node and partition lines.
- `SlurmdParameters=config_overrides` lets a node claim more processors than there are.
- A requeued job waits for its credential to expire; 5 seconds is the least that is taken.
- `preempt_send_user_signal` belongs to SlurmctldParameters here, whatever the manual says.
- slurmdbd wants its host's name and, apart from it, the address; its file must be readable by its owner alone.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.slurm.site import Site


def slurm_conf(site: Site) -> str:
    """Nodes, three partitions of two priorities, requeue on preemption, and accounting where the site has it."""
    host, folder, socket_ = socket.gethostname().split(".")[0], site.folder, site.folder / "run" / "munge.sock"
    controller = {"SlurmctldParameters": "preempt_send_user_signal"} if site.user_signal else {}
    settings: dict[str, object] = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthInfo": f"socket={socket_},cred_expire=5",
        "MailProg": "/bin/true",
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "SlurmctldPort": site.port,
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool" / "%n",
        "SlurmctldPidFile": folder / "run" / "slurmctld.pid",
        "SlurmdPidFile": folder / "run" / "slurmd.%n.pid",
        "SlurmctldLogFile": folder / "log" / "slurmctld.log",
        "SlurmdLogFile": folder / "log" / "slurmd.%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": 2000,
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
        **controller,
        "SlurmdParameters": "config_overrides",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "ReturnToService": 2,
        "KillWait": 1,
        "SlurmdTimeout": 10,
        "MinJobAge": 600,
        "GresTypes": "gpu",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "AccountingStorageType": "accounting_storage/none",
    }
    if site.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": site.port + 1,
            "AccountingStoragePass": socket_,
            "AccountingStorageTRES": "gres/gpu",
            "AccountingStorageEnforce": "associations,limits,qos",
        }
    first = site.port + 10
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += [
        f"NodeName=n[1-{site.nodes}] NodeHostname={host} NodeAddr=127.0.0.1 "
        f"Port=[{first}-{first + site.nodes - 1}] CPUs={site.cpus} RealMemory=20000 Gres=gpu:{site.gpus}",
        # Whoever is in `high` takes nodes away from the others: with ten seconds' notice, or with none.
        "PartitionName=low Nodes=ALL Default=YES DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10",
        "PartitionName=scavenge Nodes=ALL DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0",
        "PartitionName=high Nodes=ALL DefaultTime=10 PriorityTier=10 PreemptMode=OFF",
    ]
    return "\n".join(lines) + "\n"


def slurmdbd_conf(site: Site) -> str:
    """Accounting in the site's own database, all on the loopback interface."""
    run, log = site.folder / "run", site.folder / "log"
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={run}/munge.sock",
        "DbdHost": socket.gethostname().split(".")[0],
        "DbdAddr": "127.0.0.1",
        "DbdPort": site.port + 1,
        "CommunicationParameters": "NoInAddrAny",
        "SlurmUser": "root",
        "CommitDelay": 1,
        "LogFile": f"{log}/slurmdbd.log",
        "PidFile": f"{run}/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": site.port + 2,
        "StorageUser": "slurm",
        "StoragePass": "x",
        "StorageLoc": "slurm_acct",
    }
    return "\n".join(f"{k}={v}" for k, v in settings.items()) + "\n"
