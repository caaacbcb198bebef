"The command line as a person meets it: in a process of its own, or quicker in this one."

import atexit
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# what Python, and the libraries that the forks have imported, read when they start
READ_AT_START = 'PYTHON OMP_ MKL_ MPL LC_ LANG HOME XDG_ CUDA TORCH HF_ PATH TMPDIR'.split()


# What the runs of forks leave out, which takes several times as long as a small training; conftest.py
# sets both for each test, by its words
PLOTS = True  # Whether their reports have plots
CHANGED = None  # Pictures from which their gates learn kinds of change; None: as many as usual


def leukocls(*words, cwd=None, env=None, fresh=False, plots=None):
    """A command in a process of its own: its exit code, standard output and standard error. The
    process is forked from one that has imported the libraries already, unless the variables differ
    from those it started with, or it is to be `fresh`. Without `plots` the reports of a fork have none;
    the words of a test decide where nothing is said.
    """
    plots = PLOTS if plots is None else plots
    words, cwd = [*map(str, words)], str(cwd or ROOT)
    env = dict(os.environ if env is None else env)
    if fresh or not hasattr(os, 'fork') or at_start(env) != at_start(forks().env):
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'leukocls', *words],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=env,
        )
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        process = forks().Process(
            target=_run_command, args=(words, cwd, env, plots, CHANGED, out, err)
        )
        process.start()
        process.join()
        texts = [path.read_text(encoding='utf8') for path in (out, err)]
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


def _run_command(words, cwd, env, plots, changed, out, err):
    "What the fork does: it becomes `python -m leukocls WORDS`."
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _become(cwd, env)
    from leukocls.cli import commands
    from leukocls.measure import domain
    from leukocls.report import page

    if not plots:
        page._plots = lambda *a: {}
    if changed is not None:
        domain.CHANGED = changed
    sys.argv = [
        commands.__file__.replace(os.path.join('cli', 'commands.py'), '__main__.py'),
        *words,
    ]
    # as `python -m` has it
    sys.path[0] = cwd
    code = 1
    try:
        commands.main()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(cwd, env):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    warnings.simplefilter('ignore')
    signal.signal(signal.SIGINT, signal.default_int_handler)


def at_start(env):
    "The variables that count when a process starts."
    return {
        name: value
        for name, value in env.items()
        if value and name.startswith(tuple(READ_AT_START))
    }


# Importing PyTorch and fastai takes longer than most commands of the tests
IMPORTED = """
pytest fastai.vision.all matplotlib.pyplot sklearn.linear_model timm leukocls.all leukocls.cli.commands
""".split()


@cache
def forks():
    """Makes processes by forks of one that has imported the libraries. Such a fork has the imports
    and nothing else of that process: a folder, variables and an exit code of its own.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(IMPORTED)
    context.env = dict(os.environ)
    return context


def program(code, cwd):
    """A program under way in a process of its own, as `python -W ignore -c` starts it, without the
    time for its imports: for tests that send it signals. It is a `multiprocessing.Process`.
    """
    process = forks().Process(target=_run_program, args=(code, str(cwd), dict(os.environ)))
    process.start()
    return process


def _run_program(code, cwd, env):
    _become(cwd, env)
    exec(code, {'__name__': '__main__'})


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
