"""Both ways to look at the processes see the same, and the dead are not among the living."""

import os
import shutil
import subprocess
import sys

import pytest

from app.runs import processes
from app.runs.processes import Entry, Leader, living, members
from detdiffusion.errors import ConfigError


def test_this_process_lives_in_its_group() -> None:
    assert living()[os.getpid()].group == os.getpgrp()


def test_an_ended_process_that_waits_for_its_parent_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # until it has ended
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid not in living()
    child.communicate()


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_ps_sees_what_proc_sees() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        assert {pid: processes._from_ps()[pid].group for pid in (os.getpid(), child.pid)} == {
            os.getpid(): os.getpgrp(),
            child.pid: child.pid,
        }
        assert processes._from_ps()[child.pid] == processes._from_ps()[child.pid]
    finally:
        child.communicate(b"\n")
    assert child.pid not in processes._from_ps()


GROUP = {7: Entry(7, "noon"), 8: Entry(7, "later"), 9: Entry(9, "noon")}


@pytest.mark.parametrize(
    ("leader", "table", "expected"),
    [
        (Leader(7, "noon"), GROUP, [7, 8]),
        (Leader(7, "yesterday"), GROUP, []),  # the number is another's by now
        (Leader(7, "noon"), {8: Entry(7, "later")}, [8]),  # the leader ended, its child did not
        (Leader(5, "noon"), GROUP, []),
    ],
)
def test_members(leader: Leader, table: processes.Table, expected: list[int]) -> None:
    assert members(leader, table) == expected


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_groups_that_are_never_signalled(pid: int) -> None:
    with pytest.raises(ConfigError, match="no process"):
        Leader(pid, "")
