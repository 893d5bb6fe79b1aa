"""Jobs as forks of a process that has loaded what they load: as `python -m` would run them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.helpers import ROOT
from workflow import ask, make_book
from workflow import forks as module
from workflow.ask import ONE_THREAD
from workflow.forks import COLD, LOADED, PLACES, forks

#: What a copy finds loaded here, which a new Python has not.
MARK = "colorsys"


@pytest.fixture
def environment():
    """That of a job of Snakemake's with one thread."""
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def place(monkeypatch, environment):
    """A socket to ask at."""
    monkeypatch.setitem(LOADED, "jobs", (MARK,))
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        own = Path(name, "jobs")
        monkeypatch.chdir(ROOT)
        with forks(own, "jobs", environment):
            yield own


@pytest.fixture
def asks(tmp_path, environment):
    """A function that writes a module of some code and begins to ask for it."""

    def begin(place, code, *words, **more):
        (tmp_path / "job.py").write_text(textwrap.dedent(code))
        command = [sys.executable, "-IS", ask.__file__, str(place), "job", *words]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environ = {**environment, **more.pop("environ", {})}
        then = more.pop("preexec_fn", lambda: None)

        def usual() -> None:
            """Even where the tests run in the background of a script, or under nohup."""
            for number in (*ask.HANDED_ON, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)
            then()

        words_of_popen = {**streams, "text": True, "preexec_fn": usual, **more}
        return subprocess.Popen(command, cwd=tmp_path, env=environ, **words_of_popen)

    return begin


def warm(place, asks):
    """Ask for the copies that come before anything is loaded."""
    for _ in range(COLD):
        assert asks(place, "").wait() == 0


def gone(pid):
    """Whether a process has ended, or is a zombie that whoever adopted it has not yet seen."""
    status = Path(f"/proc/{pid}/status")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "State:\tZ" in status.read_text()
    return True


def state(pid):
    """Of a process, by its letter: S asleep, T stopped."""
    return re.search(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text())[1]


def signals(pid, which):
    """Those that a process handles (SigCgt), or that wait until it blocks them no more (ShdPnd)."""
    status = Path(f"/proc/{pid}/status").read_text()
    bits = int(re.search(rf"{which}:\s+(\w+)", status)[1], 16)
    return {number for number in signal.Signals if bits >> (number - 1) & 1}


def soon(what):
    """Wait until it is so."""
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_first_copies_do_not_wait_and_the_later_find_all_loaded(place, asks):
    code = f"import sys; print({MARK!r} in sys.modules)"
    said = [asks(place, code).communicate()[0] for _ in range(COLD + 2)]
    assert said == ["False\n"] * COLD + ["True\n"] * 2


@pytest.mark.parametrize(
    "end",
    ["", "sys.exit(3)", "sys.exit('why')", "1 / 0", "os.kill(os.getpid(), signal.SIGKILL)",
     "raise KeyboardInterrupt"],
)  # fmt: skip
def test_a_copy_is_as_a_new_python(place, asks, end):
    code = f"""
        import os, signal, sys
        main = sys.modules["__main__"]
        print(sys.argv[1:], os.getcwd(), os.umask(0), os.environ["WORD"], sys.stdin.read())
        print(__name__, main.__spec__.name, main.__file__, sys.path[:2], sorted(os.listdir("/proc/self/fd")))
        print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)])
        print("said", file=sys.stderr)
        sys.stdout.flush()
        {end}
    """  # noqa: E501
    warm(place, asks)
    words = ["a b", "ü", "$(x)"]
    copy, new = (asks(one, code, *words, environ={"WORD": "1\n2"}) for one in (place, "/nowhere"))
    said, also = copy.communicate("typed"), new.communicate("typed")
    assert said[0] == also[0] and "typed" in said[0]
    last = [lines.strip().splitlines()[-1] for lines in (said[1], also[1])]
    assert last[0] == last[1] or end.startswith("raise Key")
    assert copy.returncode == (new.returncode if new.returncode >= 0 else 128 - new.returncode)


def test_signals_are_handed_on(place, asks):
    waits = "import time\nprint(1, flush=True)\ntime.sleep(60)"
    handles = f"""
        try:
        {textwrap.indent(waits, " " * 12).lstrip()}
        except KeyboardInterrupt:
            print("interrupted")
            raise SystemExit(130)
    """.replace("try:\n        ", "try:\n            ")
    for number, code, said, status in [
        (signal.SIGTERM, waits, "", 128 + signal.SIGTERM),
        (signal.SIGHUP, waits, "", 128 + signal.SIGHUP),
        (signal.SIGINT, handles, "interrupted\n", 130),
    ]:
        one = asks(place, code)
        assert one.stdout.readline() == "1\n"
        one.send_signal(number)
        assert one.communicate()[0] == said
        assert one.returncode == status


WAITS = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


def test_a_job_ends_with_whoever_asked_for_it(place, asks, tmp_path):
    one = asks(place, WAITS)
    job = int(one.stdout.readline())
    one.kill()
    soon(lambda: gone(job))
    shell = subprocess.Popen(
        ["bash", "-c", f"{sys.executable} -IS {ask.__file__} {place} job; true"],
        cwd=tmp_path, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    job = int(shell.stdout.readline())
    shell.kill()  # bash alone: who asked has another parent now
    soon(lambda: gone(job))


def test_where_the_process_ends_its_copies_end_and_others_begin_anew(place, asks):
    one = asks(place, WAITS)
    job = int(one.stdout.readline())
    server = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{job}/status").read_text())[1])
    os.kill(server, signal.SIGKILL)
    assert "it is a copy of has ended" in one.communicate()[1]
    assert one.returncode == 1
    soon(lambda: gone(job))
    code = f"import sys; print(6 * 7, {MARK!r} in sys.modules)"
    for _ in range(COLD + 1):
        assert asks(place, code).communicate() == ("42 False\n", "")


def test_a_job_of_more_threads_begins_anew(place, asks):
    warm(place, asks)
    code = f"import sys; print({MARK!r} in sys.modules)"
    more = asks(place, code, environ={"OMP_NUM_THREADS": "2"})
    assert more.communicate()[0] == "False\n"
    assert asks(place, code).communicate()[0] == "True\n"


def test_who_asks_and_is_killed_at_once_does_no_harm(place, asks):
    one = asks(place, WAITS)
    one.stdout.readline()
    for said in (b"", b"\0\0\0\0\0\0\0\x09{", b"\0\0\0\0\0\0\0\x09"):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(place))
            socket.send_fds(other, [said], [0, 1, 2])
    assert asks(place, "print(1)").communicate()[0] == "1\n"
    assert one.poll() is None
    one.kill()
    one.wait()


@contextlib.contextmanager
def changed(place, environment, change, *files):
    """A server that is as those of `forks` but for a change to what it runs, which is code too."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        own = listening.fileno()
        begin = "import os, socket\nfrom workflow import forks\n" + textwrap.dedent(change)
        code = f"{begin}\nforks.serve(socket.socket(fileno={own}), [])"
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            pass_fds=[own, *files],
        )  # fmt: skip
    with server:
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
def held(place, environment):
    """A server whose copies say who they are and wait at their very start, and what they wait for.

    They go on as that is closed; at the end of a test it is, so that none is left over.
    """
    wait, go = os.pipe()
    change = f"""
        fork = forks._fork

        def held():
            if not (job := fork()):
                print(os.getpid(), flush=True)
                os.read({wait}, 1)
            return job

        forks._fork = held
    """
    with (
        open(wait),
        open(go, "w") as gate,
        changed(place.parent / "held", environment, change, wait) as server,
    ):
        yield server, gate


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_before_the_job_has_begun_reaches_it(place, held, asks, number):
    server, gate = held
    one = asks(place.parent / "held", "print('begun')")
    job = int(server.stdout.readline())
    one.send_signal(number)
    soon(lambda: number in signals(job, "ShdPnd"))
    gate.close()
    assert one.communicate(timeout=20)[0] == ""
    assert one.returncode == 128 + number


def test_a_signal_that_comes_while_modules_are_loaded_reaches_the_job(
    place, asks, monkeypatch, tmp_path
):
    """The copy that is asked for third waits for them."""
    code = "import os, time\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.01)"
    (tmp_path / "slowly.py").write_text(code)
    monkeypatch.setitem(LOADED, "jobs", ("slowly",))
    go, other = tmp_path / "go", place.parent / "other"
    own = {**os.environ, **ONE_THREAD, "PYTHONPATH": f"{ROOT}:{tmp_path}", "GO": str(go)}
    with forks(other, "jobs", own):
        cold = [asks(other, "print(1, flush=True)") for _ in range(COLD)]
        assert [one.stdout.readline() for one in cold] == ["1\n"] * COLD
        third = asks(other, "import time\ntime.sleep(60)")
        soon(lambda: {*ask.HANDED_ON} <= signals(third.pid, "SigCgt"))  # it asks
        third.send_signal(signal.SIGINT)
        go.touch()
        third.communicate(timeout=20)
        assert third.returncode == 128 + signal.SIGINT
        assert [one.wait(timeout=20) for one in cold] == [0] * COLD


def test_a_copy_that_is_left_alone_at_its_very_start_ends(place, held, asks):
    """Too early for the system to end it with the process that it is a copy of."""
    server, gate = held
    one = asks(place.parent / "held", "print('begun')")
    server.stdout.readline()
    soon(lambda: signal.SIGTSTP in signals(one.pid, "SigCgt"))  # it knows of the job
    server.kill()
    server.wait()
    gate.close()
    assert one.communicate(timeout=20)[0] == ""  # all that has its output has ended
    assert one.returncode == 1


def test_no_pidfd_open_is_needed(place, environment, asks):
    """Conda's Python has none."""
    other = place.parent / "other"
    with changed(other, environment, "vars(os).pop('pidfd_open', None)") as server:
        waits = asks(other, WAITS)
        job = int(waits.stdout.readline())
        for status in (0, 3):
            one = asks(other, f"import os\nprint(os.getppid())\nraise SystemExit({status})")
            assert one.communicate(timeout=20)[0] == f"{server.pid}\n"  # it is a copy
            assert one.returncode == status
        waits.kill()
        soon(lambda: gone(job))


def test_what_is_ignored_where_a_job_is_asked_for_is_ignored_by_it(place, asks):
    """As of `nohup make book`."""
    code = """
        import signal
        print([signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGHUP, signal.SIGINT)])
    """
    deaf = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    said = [asks(one, code, **deaf).communicate()[0] for one in (place, "/nowhere")]
    assert said == ["[True, False]\n"] * 2


def test_a_job_stops_and_goes_on_with_whoever_asked(place, asks):
    one = asks(place, WAITS)
    job = int(one.stdout.readline())
    soon(lambda: signal.SIGTSTP in signals(one.pid, "SigCgt"))  # it knows of the job
    one.send_signal(signal.SIGTSTP)  # as Ctrl-Z does
    soon(lambda: state(job) == state(one.pid) == "T")
    one.send_signal(signal.SIGCONT)
    soon(lambda: state(job) == "S")
    one.kill()
    one.wait()


def test_a_module_that_cannot_be_loaded_is_left_to_the_job(place, asks, monkeypatch, environment):
    monkeypatch.setitem(LOADED, "jobs", ("no_such_module", MARK))
    other = place.parent / "other"
    with forks(other, "jobs", environment):
        warm(other, asks)
        assert (
            asks(other, f"import sys; print({MARK!r} in sys.modules)").communicate()[0] == "True\n"
        )
        assert "ModuleNotFoundError" in asks(other, "import no_such_module").communicate()[1]


def test_variables_that_modules_set_are_there(place, asks, monkeypatch, tmp_path):
    """But not in place of the job's own."""
    (tmp_path / "sets.py").write_text("import os\nos.environ |= {'OF_A_MODULE': '1', 'OWN': '1'}")
    monkeypatch.setitem(LOADED, "jobs", ("sets",))
    own = {**os.environ, **ONE_THREAD, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with forks(place.parent / "other", "jobs", own):
        warm(place.parent / "other", asks)
        code = "import os; print(os.environ['OF_A_MODULE'], os.environ['OWN'])"
        one = asks(place.parent / "other", code, environ={"OWN": "2"})
        assert one.communicate()[0] == "1 2\n"


def test_a_job_whose_output_is_closed_begins_anew(place, asks, tmp_path):
    warm(place, asks)
    code = f"""
        import sys
        open("said", "w").write(f"{{sys.stdout}} {{{MARK!r} in sys.modules}}")
    """
    one = asks(place, code, preexec_fn=lambda: os.close(1))
    assert one.wait() == 0
    assert (tmp_path / "said").read_text() == "None False"


def test_where_the_process_does_not_start_jobs_begin_anew(asks, tmp_path, environment, monkeypatch):
    def refused(*_, **words):
        raise OSError("no more processes")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setattr(module.subprocess, "Popen", refused)
        with forks(Path(name, "jobs"), "jobs", environment):
            monkeypatch.undo()
            assert asks(f"{name}/jobs", "print(1)").communicate()[0] == "1\n"


def test_a_copy_starts_processes_of_its_own(place, asks):
    code = """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        def double(x):
            return 2 * x

        if __name__ == "__main__":
            with ProcessPoolExecutor(2, get_context("spawn")) as pool:
                print(list(pool.map(double, range(3))))
    """
    warm(place, asks)
    assert asks(place, code).communicate() == ("[0, 2, 4]\n", "")


def test_processor_time_of_a_copy_is_told(place, asks, tmp_path):
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    asks(place, busy, environ={ask.TIMES: str(tmp_path / "times")}).wait()
    user, system = re.fullmatch(
        r"0m([\d.]+)s 0m([\d.]+)s\n", (tmp_path / "times").read_text()
    ).groups()
    assert 0.4 < float(user) + float(system) < 2


@pytest.mark.parametrize(("system", "gpus"), [("linux", False), ("linux", True), ("darwin", False)])
def test_a_build_has_both_on_linux_and_without_gpus(monkeypatch, system, gpus):
    monkeypatch.setattr(sys, "platform", system)
    with make_book._forks("build/none", use=not gpus) as (places, ends):
        wanted = system == "linux" and not gpus
        assert set(places) == (set(PLACES.values()) if wanted else set())
        assert len(ends) == len(places)
        for place in places.values():
            assert Path(place).is_socket()
    assert not any(Path(place).exists() for place in places.values())


def test_nothing_is_started_where_nobody_asks(place):
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    said = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [one for one in said if b"workflow.forks" in one]


def test_all_ends_where_a_build_is_killed(tmp_path, environment, asks):
    """Snakemake, which was handed the file, may go on until it is killed too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        code = f"""
            import os, subprocess, sys
            from pathlib import Path
            from workflow.forks import forks
            with forks(Path({name!r}, "jobs"), "jobs", dict(os.environ)) as end:
                words = [sys.executable, "-c", "import time; time.sleep(60)"]
                print(subprocess.Popen(words, pass_fds=[end]).pid, flush=True)
                sys.stdin.read()
        """
        build = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        snakemake = int(build.stdout.readline())
        one = asks(f"{name}/jobs", WAITS)
        job = int(one.stdout.readline())
        build.kill()
        build.wait()
        time.sleep(0.5)
        assert not gone(job)
        os.kill(snakemake, signal.SIGKILL)
        soon(lambda: gone(job))
        assert one.wait() == 1


def test_what_notebooks_find_loaded_has_not_looked_for_a_notebook():
    code = f"""
        import importlib, sys
        for name in {LOADED["notebooks"]!r}:
            importlib.import_module(name)
        print([n for n in ("ipykernel", "ipywidgets", "plotly", "matplotlib", "tqdm.auto") if n in sys.modules])
    """  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_notebook_in_a_fork_is_the_notebook(tmp_path, environment, monkeypatch):
    cells = [
        "import sys, plotly.io, matplotlib\nword = 1  # a default",
        "print(word, __name__, plotly.io.renderers.default, matplotlib.get_backend())",
        "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 2]))",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "import ipywidgets\nipywidgets.IntSlider(3)",
        f"print({MARK!r} in sys.modules, file=sys.stderr)",
    ]
    (tmp_path / "notebooks").mkdir()
    source = new_notebook(
        cells=[new_code_cell(cell, id=f"cell-{i}") for i, cell in enumerate(cells)]
    )
    source.cells[0].metadata["tags"] = ["parameters"]
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(source, tmp_path / "notebooks/one.ipynb")
    monkeypatch.setitem(LOADED, "notebooks", (MARK,))

    def run(to, **places):
        words = ["workflow.run_notebook", "notebooks/one.ipynb", f"{to}/one.ipynb", "word=2"]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path, env=environment | places, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made = nbformat.read(tmp_path / to / "one.ipynb", as_version=4)
        said = [str(cell.outputs) for cell in made.cells]
        return made, re.sub(r"\b[0-9a-f]{32}\b", "a widget's name", "\n".join(said))

    plain, text = run("plain")
    monkeypatch.chdir(ROOT)
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        forks(place := Path(name, "notebooks"), "notebooks", environment),
    ):
        for _ in range(COLD + 1):
            made, same = run("forked", **{PLACES["notebooks"]: str(place)})
    assert made.cells[-1].outputs[0].text == "True\n"  # loaded before it began
    assert plain.cells[-1].outputs[0].text == "False\n"
    assert "image/png" in text and "2 __main__" in text
    assert same.replace("True\\n", "False\\n") == text
    assert made.metadata.kernelspec == plain.metadata.kernelspec
    assert made.metadata.language_info == plain.metadata.language_info
