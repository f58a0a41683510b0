"""What the pages show of the clients in Python: each program prints what stands behind it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stories.support import Server

ROOT = Path(__file__).parents[3]
SHOWN = re.compile(r"```python\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```", re.S)
PROGRAMS = [
    pytest.param(*found.groups(), id=f"{Path(page).parts[-3:][0]}-{number}")
    for page in ("README.md", "crates/quell-agentos/src/contract.md")
    for number, found in enumerate(SHOWN.finditer((ROOT / page).read_text()))
]


def test_the_pages_show_programs():
    assert len(PROGRAMS) == 3


@pytest.mark.parametrize("program, printed", PROGRAMS)
def test_a_program_prints_what_the_page_shows(tmp_path, program, printed):
    with Server(tmp_path, "--demo") as server:
        here = program.replace("127.0.0.1:7777", server.url.removeprefix("http://"))
        command = [sys.executable, "-c", here]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = [line.rstrip() for line in said.stdout.splitlines()]
    assert (lines, said.stderr) == (printed.splitlines(), "")
