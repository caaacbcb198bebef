"The command line as a person meets it: in a process of its own, or quicker in this one."

import atexit
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# what Python, and the libraries that the server has imported, read when they start
READ_AT_START = 'PYTHON OMP_ MKL_ MPL LC_ LANG HOME XDG_ CUDA TORCH HF_ PATH TMPDIR'.split()


def leukocls(*words, cwd=None, env=None, fresh=False, plots=True):
    """A command in a process of its own: its exit code, standard output and standard error. The
    process is forked from one that has imported the libraries already, unless the variables differ
    from those it started with, or it is to be `fresh`. Without `plots` the reports of a fork have none:
    drawing them takes several times as long as a small training, and other tests look at them.
    """
    words, cwd = [*map(str, words)], str(cwd or ROOT)
    env = dict(os.environ if env is None else env)
    if fresh or not hasattr(os, 'fork') or at_start(env) != at_start(server().env):
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'leukocls', *words],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=env,
        )
    return server().run(words, cwd, env, plots)


def at_start(env):
    "The variables that count when a process starts."
    return {
        name: value
        for name, value in env.items()
        if value and name.startswith(tuple(READ_AT_START))
    }


@cache
def server():
    return Server()


class Server:
    "Runs commands in forks of one process; see `shell_server.py`."

    def __init__(self):
        self.env = dict(os.environ)
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('shell_server.py'))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.env | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
        )
        atexit.register(self.end)

    def run(self, words, cwd, env, plots):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, 'out'), Path(folder, 'err')
            task = dict(words=words, cwd=cwd, env=env, plots=plots, out=str(out), err=str(err))
            self.process.stdin.write(json.dumps(task) + '\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            assert answer, 'the process that runs commands ended'
            texts = [path.read_text(encoding='utf8') for path in (out, err)]
        return subprocess.CompletedProcess(words, int(answer), *texts)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def here(*words):
    "The same in this process, where PyTorch and fastai are imported already."
    from leukocls.cli.commands import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # as -W ignore
        try:
            main([*map(str, words)])
        except SystemExit as e:
            code = e.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
