import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import cli, processes
from jobs.cluster import Cluster, ClusterError
from jobs.errors import Failure
from jobs.rest import Rest
from jobs.waiting import wait_until
from tests.cluster.submitting import submit
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a space in its path; what still runs in it at the end is stopped."""
    folder = tmp_path / "my cluster"
    yield folder
    if (folder / "cluster.json").exists():
        Cluster(folder).stop()


def mark(folder: Path) -> str:
    return "RIVERRUN_CLUSTER=" + json.loads((folder / "cluster.json").read_text())["mark"]


def completed(rest: Rest, job_id: str) -> int:
    count: int = rest.checkpoints(job_id)["counts"]["completed"]
    return count


def listening(pids: set[int]) -> set[str]:
    """Addresses (hexadecimal, as the kernel has them) that these processes listen at."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                sockets.add(handle.readlink().name)
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    # proc(5): the local address stands second, the state fourth (0A: listening), the inode tenth.
    return {
        row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets
    }


def test_start_status_and_stop_from_the_command_line(folder, capsys):
    def riverrun(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["cluster", *arguments, "--dir", str(folder)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    code, text, _ = riverrun(
        "start", "--task-managers", "2", "--state-backend", "rocksdb", "--json"
    )
    started: dict[str, Any] = json.loads(text)
    assert code == 0
    assert (started["sound"], started["registered"], started["free_slots"]) == (True, 2, 2)
    assert started["task_managers"].keys() == {"1", "2"}
    pids = {started["job_manager"], *started["task_managers"].values()}
    assert {process.pid for process in processes.marked(mark(folder))} == pids
    assert Rest(started["url"]).overview()["taskmanagers"] == 2

    # 127.0.0.1 in the tables of IPv4 and, mapped, of IPv6.
    assert listening(pids) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening(pids)

    code, _, refusal = riverrun("start")
    assert code == 1
    assert refusal == (
        f"riverrun: a cluster runs in {folder} ({started['url']}); "
        f"`riverrun cluster stop --dir '{folder}'` ends it\n"
    )
    code, text, _ = riverrun("status")
    assert code == 0
    assert text.splitlines() == [
        started["url"],
        f"job manager      pid {started['job_manager']}",
        f"task manager 1   pid {started['task_managers']['1']}",
        f"task manager 2   pid {started['task_managers']['2']}",
        "registered: 2, free slots: 2, running jobs: 0",
    ]

    os.kill(started["task_managers"]["2"], signal.SIGKILL)
    wait_until(lambda: riverrun("status")[0] == 1, "the loss in the status", timeout_s=PATIENCE_S)
    assert (
        f"taskmanager-2 has ended; its log is {folder}/log/taskmanager-2.log"
        in (riverrun("status")[1])
    )

    assert riverrun("stop")[:2] == (
        0,
        f"stopped; checkpoints, savepoints and logs are in {folder}\n",
    )
    assert processes.marked(mark(folder)) == []
    assert {entry.name for entry in folder.iterdir()} == {
        "checkpoints",
        "cluster.json",
        "conf",
        "log",
        "pids",
        "savepoints",
    }
    assert list((folder / "pids").iterdir()) == []
    assert riverrun("status")[:2] == (1, f"{started['url']}\nstopped\n")


def test_a_job_survives_its_task_manager_and_the_cluster_its_job_manager(folder):
    with Cluster.start(folder, task_managers=1) as cluster:
        job_id = submit(cluster, "count digits", "200")
        rest = cluster.rest
        wait_until(lambda: completed(rest, job_id) > 0, "a checkpoint", timeout_s=PATIENCE_S)

        killed = cluster.task_manager_pids[1]
        cluster.kill_task_manager(1)
        assert cluster.task_manager_pids == {}
        assert cluster.status().lost == ["taskmanager-1"]
        with pytest.raises(ClusterError, match="taskmanager-1 does not run in "):
            cluster.kill_task_manager(1)

        assert cluster.start_task_manager() == 1
        assert cluster.task_manager_pids.keys() == {1}
        assert cluster.task_manager_pids[1] != killed
        with pytest.raises(ClusterError, match="task manager 1 runs already: pid "):
            cluster.start_task_manager(1)
        wait_until(lambda: rest.restarts(job_id) > 0, "the restart", timeout_s=PATIENCE_S)
        wait_until(
            lambda: rest.checkpoints(job_id)["counts"]["restored"] > 0, "the restore", timeout_s=60
        )
        before = completed(rest, job_id)
        wait_until(lambda: completed(rest, job_id) > before, "a checkpoint", timeout_s=PATIENCE_S)

        # A second one joins the same cluster.
        assert cluster.start_task_manager() == 2
        assert cluster.status().registered == 2

        cluster.kill_job_manager()
        status = cluster.status()
        assert (status.job_manager, status.registered, status.sound) == (None, None, False)
        assert status.task_managers.keys() == {1, 2}
        cluster.start_job_manager()
        with pytest.raises(ClusterError, match="the job manager runs already: pid "):
            cluster.start_job_manager()
        assert cluster.status().sound
        assert rest.jobs() == []
    assert processes.marked(mark(folder)) == []


def test_python_workers_beside_a_task_manager_end_with_the_cluster(folder, monkeypatch):
    # A job in process mode on a MiniCluster leaves it behind: there, workers are to be found here.
    monkeypatch.setenv("PYTHON_LOOPBACK_SERVER_ADDRESS", "127.0.0.1:1")
    settings = {"python.execution-mode": "process"}
    with Cluster.start(folder, task_managers=1, settings=settings) as cluster:
        job_id = submit(cluster, "count digits", "200")
        wait_until(
            lambda: completed(cluster.rest, job_id) > 0, "a checkpoint", timeout_s=PATIENCE_S
        )
        assert len(processes.marked(mark(folder))) > 2
        cluster.kill_task_manager(1)
    assert processes.marked(mark(folder)) == []


def test_what_lies_in_a_stopped_cluster_s_folder_is_kept_by_the_next_start(folder):
    with Cluster.start(folder, task_managers=0) as cluster:
        (cluster.savepoints / "kept").touch()
    with Cluster.start(folder, task_managers=0) as cluster:
        assert (cluster.savepoints / "kept").exists()
        assert cluster.status().sound


def test_a_folder_with_something_else_in_it_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(
        ClusterError, match="is not empty and holds no cluster: name another folder"
    ):
        Cluster.start(folder)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]
    with pytest.raises(ClusterError, match="is not a folder"):
        Cluster.start(folder / "thesis.txt")


def test_a_mistake_leaves_the_folder_as_it_was(folder):
    with pytest.raises(Failure, match="Memory size unit 'q' does not match"):
        Cluster.start(folder, memory="1q")
    assert list(folder.iterdir()) == []


def test_a_process_that_ends_at_once_is_told_with_the_end_of_its_log(folder):
    settings = {"io.tmp.dirs": "/proc/no such folder"}
    with pytest.raises(
        ClusterError, match=r"(?s)manager.* has ended; its log:\n.*/proc/no such folder"
    ):
        Cluster.start(folder, settings=settings)
    assert processes.marked(mark(folder)) == []


def test_where_there_is_no_cluster_none_is_found(tmp_path):
    with pytest.raises(ClusterError, match=f"no cluster in {tmp_path}"):
        Cluster(tmp_path)
    (tmp_path / "cluster.json").write_text('{"rest_port": "none"}')
    with pytest.raises(ClusterError, match="cluster.json is not what a cluster writes: "):
        Cluster(tmp_path)
