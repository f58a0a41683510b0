"""The operator: a pipeline of ordinary programs, and the mistakes that anybody makes in it.

The report is the one that the README shows, but for its times.
"""

import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from stories.mistakes import MISTAKES
from stories.support import QUELL

HERE = Path(__file__).parent
README = HERE.parents[2] / "README.md"


@pytest.fixture
def project(tmp_path):
    shutil.copytree(HERE / "project", tmp_path, dirs_exist_ok=True)
    return tmp_path


def quell(folder, *args):
    ended = subprocess.run([QUELL, *args], cwd=folder, capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout, ended.stderr


def without_times(report):
    """Times differ, and so does which branch ends last; columns are as wide as they need to be."""
    report = re.sub(r"\d+(\.\d+)? (ms|s)\b", "T", report)
    report = re.sub(r"decided after T by \w+", "decided after T", report)
    return [re.sub(r" +", " ", line).rstrip() for line in report.splitlines()]


def as_shown(line):
    """A pattern of a line as messages show it: a word that may be a secret is hidden."""
    parts = re.split(r"([^\s:\[\]{},\"'=|.]+)", line)
    words = [rf"(?:{re.escape(word)}|…|\*+)" for word in parts[1::2]]
    signs = [re.escape(sign) for sign in parts[::2]]
    return "".join(sign + word for sign, word in zip(signs, [*words, ""]))


def test_the_pipeline_says_what_the_readme_shows(project):
    code, said, complained = quell(project, "run", "pipeline.yaml")
    assert code == 0 and "warning" not in complained, complained
    report = said[said.index("\npipeline  ") + 1 :]
    shown = README.read_text()
    shown = shown[shown.index("$ quell run pipeline.yaml\n") :]
    shown = shown[shown.index("pipeline  ") : shown.index("```")]
    assert without_times(report) == without_times(shown)
    assert (project / "calc.tar").exists()


def test_the_pipeline_says_the_same_again_and_a_checkout_stays_clean(project):
    def git(*args):
        return subprocess.run(["git", *args], cwd=project, capture_output=True, check=True).stdout

    git("init", "-q")
    git("add", ".")
    for _ in range(2):
        _, said, _ = quell(project, "run", "pipeline.yaml")
        assert "attempt 3  completed" in said, said
        assert git("ls-files", "--others", "--exclude-standard") == b""


def test_what_was_built_is_withdrawn_if_a_later_step_fails(project):
    (project / "fetch.sh").write_text("echo 'registry: 401' >&2; exit 1")
    code, said, _ = quell(project, "run", "pipeline.yaml")
    assert code == 1 and "registry: 401" in said, said
    assert not (project / "calc.tar").exists()
    for step in ("upload", "announce"):
        assert re.search(rf"^│ .*\b{step} +an earlier step failed$", said, re.M), said


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_would_be_right(project, name):
    before, after, messages = MISTAKES[name]
    plan = (project / "pipeline.yaml").read_text()
    assert before in plan
    wrong = plan.replace(before, after, 1)
    (project / "pipeline.yaml").write_text(wrong)
    for command in ("plan", "check"), ("run",):
        code, said, complained = quell(project, *command, "pipeline.yaml")
        assert code == 2
        said += complained
        for message in messages:
            assert f"pipeline.yaml:{message}" in said
            number, column = map(int, message.split(":")[:2])
            line = wrong.splitlines()[number - 1]
            # A long line is cut, after the place.
            assert re.search(f"^ *{number} \\| {as_shown(line[:60])}", said, re.M), said
    assert not (project / "calc.tar").exists(), "nothing was started"


def test_a_terminal_that_is_closed_cancels_the_run_with_grace(tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        # Under `nohup` it is ignored, and quell leaves it so.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(tmp_path)
        polite = "trap 'echo bye > bye; exit 3' TERM; while :; do sleep 0.1; done"
        os.execv(QUELL, [QUELL, "run", "--", "sh", "-c", polite])
    drawn = 0
    # Of a bar that is drawn again and again, some frame is on its way when the terminal goes.
    while drawn < 5:
        drawn += os.read(terminal, 65536).count(b"\x1b[2K")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert (tmp_path / "bye").exists()
