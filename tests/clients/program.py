"""The program under test, for the clients beside it."""

import contextlib
import subprocess


def new_key(program, generation):
    """A key for all of the project, and its lines for the file of keys."""
    made = subprocess.run(
        [program, "key", "new", "--project", "proj", "--scope", "all"]
        + ["--generation", str(generation)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    first, rest = made.split("\n", 1)
    return first.removeprefix("key "), rest


def start(program, *arguments):
    """The program on a port that is free, and its URL."""
    child = subprocess.Popen(
        [program, "serve", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in child.stdout:
        if line.startswith("listening on "):
            return child, line.removeprefix("listening on ").strip()
    raise AssertionError("the server has ended")


@contextlib.contextmanager
def running(program, *arguments):
    """The URL of the program, which is ended in the end."""
    child, url = start(program, *arguments)
    try:
        yield url
    finally:
        child.kill()
        child.wait()
