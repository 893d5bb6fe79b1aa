"""Writing whole or not at all, and work in processes and threads that ends cleanly."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import save_file

from oacore.errors import InputError
from oacore.files import (
    in_processes,
    in_threads,
    remove_parts,
    require_empty,
    saving,
    whole,
    write,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["a text", b"bytes"])
def test_a_file_appears_and_nothing_beside_it(tmp_path, content):
    write(tmp_path / "one.txt", "before")
    write(tmp_path / "one.txt", content)
    expected = content.encode() if isinstance(content, str) else content
    assert (tmp_path / "one.txt").read_bytes() == expected
    assert names(tmp_path) == ["one.txt"]


def test_only_a_place_that_holds_nothing_is_empty(tmp_path):
    for empty in (tmp_path, tmp_path / "not there"):
        require_empty(empty)
    (tmp_path / "mine.txt").write_text("mine")
    for full in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(InputError, match=f"{full}: holds something already"):
            require_empty(full)
    assert names(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, PermissionError])
def test_an_interrupted_writer_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "map.nii.gz"
    path.write_text("old")
    with pytest.raises(error), whole(path) as part:
        assert part.name.endswith(".nii.gz") and part.parent == tmp_path
        part.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["map.nii.gz"]


def test_a_full_disk_is_one_clear_error(tmp_path):
    """/dev/full is Linux's device on which no byte finds room."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    words = r"never\.csv: No space left .* free some space"
    with pytest.raises(InputError, match=words), whole(tmp_path / "never.csv"):
        full.write_text("x" * 10)
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_the_old_file_and_what_it_left_can_be_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub/one.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys\nfrom oacore.files import whole\n"
        "with whole(sys.argv[1]) as part:\n"
        "    part.write_text('new')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old" and len(names(path.parent)) == 2
    (tmp_path / "part-notes.txt").write_text("a user's")
    (tmp_path / "sub/part-1").mkdir()
    remove_parts(tmp_path)
    assert names(path.parent) == ["one.txt", "part-1"]
    assert (tmp_path / "part-notes.txt").exists()


def test_what_is_replaced_was_on_the_disk_first(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        kept = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=kept: (steps.append(n), f(*a)))
    write(tmp_path / "one.txt", "x")
    assert steps == ["fsync", "replace"]


def test_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "one.txt"

    def one(text):
        for _ in range(50):
            write(path, text * 10_000)

    in_threads(one, "abcd", 4, "writers", "letter")
    assert len(set(path.read_text())) == 1 and path.stat().st_size == 10_000
    assert names(tmp_path) == ["one.txt"]


def square(number):
    if number == 3:
        time.sleep(0.2)  # the others overtake it
    return number, number**2, os.getpid()


@pytest.mark.parametrize("run", [in_processes, in_threads])
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(run, workers, capsys):
    found = run(square, iter(range(6)), workers, "squares", "one")
    assert [entry[:2] for entry in found] == [(n, n * n) for n in range(6)]
    elsewhere = {pid for *_, pid in found} != {os.getpid()}
    assert elsewhere == (run is in_processes and workers > 1)
    assert "squares: 100%" in capsys.readouterr().err


def test_the_bar_counts_what_was_done_before(capsys):
    in_processes(square, [0, 1], 1, "knees", "knee", done=8)
    said = capsys.readouterr().err
    assert "8/10" in said and "10/10" in said


def marked(job):
    folder, number = job
    if number == 0:
        raise InputError("knee 0: cannot be drawn")
    time.sleep(0.05)
    (folder / str(number)).touch()


@pytest.mark.parametrize("run", [in_processes, in_threads])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_stops_the_rest(run, workers, tmp_path):
    with pytest.raises(InputError, match="knee 0"):
        run(marked, [(tmp_path, n) for n in range(60)], workers, "knees", "knee")
    assert len(names(tmp_path)) < 50


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_the_system_ends_is_one_clear_error():
    with pytest.raises(InputError, match="knees: the system ended one of 2 .* --workers 1"):
        in_processes(die, range(4), 2, "knees", "knee")


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="workers is 0"):
        in_processes(square, [1], 0, "knees", "knee")


SLOW = """
import sys, time
from pathlib import Path
def wait(path):
    Path(path).touch()
    time.sleep(1)
    Path(path + "-done").touch()
if __name__ == "__main__":
    from oacore.files import in_processes
    try:
        in_processes(wait, [f"{sys.argv[1]}/{n}" for n in range(40)], 2, "knees", "knee")
    except KeyboardInterrupt:
        sys.exit(130)
"""


def at_work(text, tmp_path):
    """A program that hands out work, in a group of its own, once two items have been begun."""
    script, out = tmp_path / "work.py", tmp_path / "out"
    script.write_text(text)
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, out],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell runs in the background inherits that Ctrl-C means nothing to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    deadline = time.monotonic() + 60
    while len(names(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, out


def test_ctrl_c_ends_it_without_a_word_of_the_workers(tmp_path):
    process, out = at_work(SLOW, tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    left = names(out)
    assert len(left) < 20, "it went on"
    assert len(left) % 2 == 0, "a knee that was begun was not finished"


BUSY = """
import sys, time
from pathlib import Path
def compute(path):
    Path(path).touch()
    end = time.monotonic() + (0 if path.endswith("idle") else 120)
    while time.monotonic() < end:
        pass
if __name__ == "__main__":
    from oacore.files import in_processes
    in_processes(compute, [f"{sys.argv[1]}/{n}" for n in ("busy", "idle")], 2, "knees", "knee")
"""


def test_workers_end_soon_after_a_parent_that_was_killed(tmp_path):
    parent, out = at_work(BUSY, tmp_path)
    try:
        assert names(out) == ["busy", "idle"]
        parent.kill()
        # The pipe ends when the last process that has it does: parent, workers, and what Python
        # runs beside them.
        parent.communicate(timeout=30)
        assert parent.returncode == -signal.SIGKILL
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_what_pytorch_and_safetensors_cannot_write_is_named(tmp_path):
    with (
        pytest.raises(InputError, match=r"full: could not be written .*free some space"),
        saving(Path("/dev/full")),
    ):
        torch.save({"weights": torch.zeros(99999)}, "/dev/full")
    absent = tmp_path / "absent/w.safetensors"
    for save in (lambda: save_file({"w": torch.zeros(9)}, absent), lambda: torch.save({}, absent)):
        words = r"w.safetensors: could not be written .*; make the folder .*absent and run"
        with pytest.raises(InputError, match=words), saving(absent):
            save()


@pytest.mark.parametrize(
    ("closed", "cure"), [("folder", "free some space"), ("file", "give yourself the right")]
)
def test_a_write_to_a_file_that_is_there_asks_for_no_right_to_its_folder(
    tmp_path, monkeypatch, closed, cure
):
    """As whoever is not root finds /dev/full, and a file of theirs in another's folder."""
    path = tmp_path / "w"
    path.touch()
    shut = {"folder": tmp_path, "file": path}[closed]
    monkeypatch.setattr(os, "access", lambda asked, mode: Path(asked) != shut)
    with pytest.raises(InputError, match=f"w: could not be written .*{cure}"), saving(path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_a_folder_in_place_of_a_file_is_named_and_not_its_part(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write(tmp_path / "out.csv", "text")
    assert caught.value.filename == str(tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@contextlib.contextmanager
def no_room():
    """Files of 50 kB at most: a write beyond fails half way, as on a full disk.

    Not for a whole test: pytest may write its words to a longer file in between.
    """
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))


@pytest.mark.parametrize(
    "save",
    [
        lambda state, path: torch.save(state, path),
        lambda state, path: Fabric(accelerator="cpu").save(path, state),
        lambda state, path: save_file(state, path),
        lambda state, path: path.write_bytes(bytes(60_000)),
    ],
    ids=["torch", "lightning", "safetensors", "python"],
)
def test_a_write_that_fails_half_way_is_named_whoever_writes(tmp_path, save):
    """All but PyTorch itself say that it is the limit."""
    words = r"w: could not be written \(.+\), with \d+ MiB free on .*; "
    words += r"(raise the limit of a file's size \(ulimit -f\)|free some space and run)"
    with pytest.raises(InputError, match=words), no_room(), saving(tmp_path / "w"):
        save({"weights": torch.zeros(50_000)}, tmp_path / "w")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate"),
        RuntimeError("Some tensors share memory, this will lead to duplicate memory on disk"),
        RuntimeError(),
        SafetensorError("Error while serializing: InvalidOffset(`weights`)"),
        PermissionError(errno.EACCES, "Permission denied", "w"),
        OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),
    ],
)
def test_what_is_no_failed_write_passes_through_as_it_is(tmp_path, error):
    with pytest.raises(type(error)) as caught, saving(tmp_path / "w"):
        raise error
    assert caught.value is error


def test_memory_that_runs_out_in_writing_is_not_the_disks_fault(tmp_path):
    class Memory:
        def write(self, data):
            raise MemoryError

    with pytest.raises((MemoryError, RuntimeError)) as caught, saving(tmp_path / "w"):
        torch.save({"weights": torch.zeros(9999)}, Memory())
    assert not isinstance(caught.value, InputError)


def test_a_file_that_may_not_be_written_is_not_told_to_make_room(tmp_path):
    said = "Error while serializing: I/O error: Permission denied (os error 13)"
    with pytest.raises(InputError, match="; give yourself the right"), saving(tmp_path / "w"):
        raise SafetensorError(said)
    with pytest.raises(InputError, match="; it is a folder; name a file"), saving(tmp_path):
        torch.save({}, tmp_path)
