"The command line as a person meets it: in a process of its own, or quicker in this one."

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def leukocls(*words, cwd=None, env=None):
    "A command in a process of its own: its exit code, standard output and standard error."
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'leukocls', *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env=env,
    )


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
