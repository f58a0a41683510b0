"""What the stories share: a folder of one's own, and quell in it."""

import asyncio
import os
import re
import subprocess

QUELL = os.environ["QUELL"]


class Server:
    """`quell serve` in a folder, on a free port."""

    def __init__(self, folder, *what):
        what = what or ("--config", "quell.toml")
        command = [QUELL, "serve", *what, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", line).group()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(30) == 0


class Model:
    """The pipe that the agent reads. It says a word when the test does."""

    def __init__(self, folder):
        self.path = folder / "model"
        os.mkfifo(self.path)

    async def __aenter__(self):
        # Opens when the agent does.
        self.pipe = await asyncio.to_thread(open, self.path, "w")
        return self

    async def __aexit__(self, *_):
        try:
            self.pipe.close()
        except BrokenPipeError:
            pass

    def say(self, word):
        self.pipe.write(f"{word}\n")
        self.pipe.flush()

    async def is_unread(self):
        """Waits until no process has the pipe open for reading: then the agent is gone."""
        for _ in range(1000):
            try:
                self.say("more")
            except BrokenPipeError:
                return True
            await asyncio.sleep(0.01)
        return False
