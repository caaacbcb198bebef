"""A process that has imported what the command line needs, and runs each command in a fork of it.

Importing PyTorch and fastai takes longer than most commands of the tests. A fork has the imports
and nothing else of this process: a folder, variables, standard output and an exit code of its own.

For every line of standard input, a JSON object with `words`, `cwd`, `env`, `plots`, `out` and `err`
(files), one line comes back: the exit code. Without `plots` reports are written without theirs.
"""

import atexit
import json
import os
import signal
import sys
import traceback


def import_what_commands_need():
    import fastai.vision.all
    import matplotlib.pyplot
    import sklearn.linear_model
    import timm

    import leukocls.all
    import leukocls.cli.commands

    return [fastai, leukocls, matplotlib, sklearn, timm]


def run(words, cwd, env, plots, out, err):
    "What the fork does: it becomes `python -m leukocls WORDS`."
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    from leukocls.cli import commands
    from leukocls.report import page

    if not plots:
        page._plots = lambda *a: {}
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


def serve():
    import_what_commands_need()
    # the answers have a channel of their own: libraries may print
    answers = os.fdopen(os.dup(1), 'w')
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            run(**task)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == '__main__':
    serve()
