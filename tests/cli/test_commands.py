"""The command line as a person meets it: each command once in a process of its own; what more is
asked of it, in this one.
"""

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants
from PIL import Image
from shell import here, leukocls


def failed(done, said):
    assert done.returncode == 2, (done.returncode, done.stderr[-500:])
    assert said in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr and len(done.stderr.strip().splitlines()) <= 3


def test_version():
    from leukocls import __version__

    assert leukocls('--version').stdout.strip() == f'leukocls {__version__}'


@pytest.mark.parametrize('command', ['demo', 'train', 'evaluate', 'predict', 'recipes'])
def test_help(command):
    done = leukocls(command, '--help')
    assert done.returncode == 0 and 'Usage' in done.stdout and len(done.stdout) > 200


def test_help_names_every_command():
    shown = leukocls('--help').stdout
    for word in (
        'demo',
        'train',
        'evaluate',
        'predict',
        'recipes',
        '--version',
        '--debug',
        'Not a medical device',
    ):
        assert word in shown


def test_recipes_json():
    assert {'effb3', 'modified-cnn', 'mobilenetv2'} <= {
        r['name'] for r in json.loads(leukocls('recipes', '--json').stdout)
    }


def test_errors_are_short(tmp_path, run):
    failed(leukocls('train', tmp_path / 'nowhere'), 'does not exist')
    failed(leukocls('train', tmp_path, '--recipe', 'effb4'), 'Did you mean effb3?')
    failed(leukocls('predict', run.folder / 'learner.pkl', 'a.png'), '--trust')
    failed(leukocls('predict', run.folder, 'a.png'), 'no such file')
    failed(leukocls('predict', tmp_path, 'a.png'), 'no run folder')
    assert leukocls('train').returncode == 2 and leukocls('nonsense').returncode == 2


def test_errors_speak_the_shells_words(films, tmp_path):
    copy = shutil.copytree(films, tmp_path / 'f')
    next(copy.rglob('*.png')).write_bytes(b'')
    done = leukocls('train', copy, '--recipe', 'small-cnn')
    failed(done, 'add --on-error skip')
    assert done.stderr.count('cannot be read') == 1 and 'on_error' not in done.stderr
    failed(
        leukocls('train', copy / 'Pro', '--recipe', 'small-cnn'), 'did you mean the folder above'
    )


def test_advice_names_only_options_that_the_command_has(monkeypatch, tmp_path):
    from leukocls.audit import findings
    from leukocls.core.errors import ANOTHER_FOLDER, RunError

    def fail(*args, **kwargs):
        raise RunError('No room.', advice='Free some', option=[ANOTHER_FOLDER, ('patient', ...)])

    monkeypatch.setattr(findings, 'audit', fail)
    done = here('audit', tmp_path)
    failed(done, 'No room. Free some, or add --patient ….')
    assert '--out' not in done.stderr


def test_debug_shows_where(tmp_path):
    done = leukocls('--debug', 'train', tmp_path / 'nowhere')
    assert done.returncode == 1 and 'Traceback' in done.stderr


def test_train_evaluate_predict(films, tmp_path):
    done = leukocls(
        'train',
        films,
        '--recipe',
        'small-cnn',
        '--patient',
        r'(P\d+)_',
        '--epochs',
        1,
        '--size',
        32,
        '--lr',
        0.003,
        '--device',
        'cpu',
        '--balance',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'runs' / 'small-cnn-seed42'
    assert json.loads((folder / 'recipe.json').read_text())['recipe']['balance'] is True
    assert (
        (folder / 'report.html').exists()
        and 'report.html' in done.stdout
        and 'Not a medical device' in done.stdout
        and 'balanced accuracy' in done.stdout
    )
    paths = sorted(films.rglob('*.png'))[:3]
    for call, model in ((leukocls, [folder]), (here, [folder / 'learner.pkl', '--trust'])):
        done = call(
            'predict', model[0], *paths, *model[1:], '--csv', tmp_path / 'p.csv', '--overwrite'
        )
        assert done.returncode == 0, done.stderr
        p = pd.read_csv(tmp_path / 'p.csv')
        assert (
            p.path.tolist() == [str(x) for x in paths]
            and p.filter(like='p_').sum(axis=1).round(4).eq(1).all()
        )
    done = here('predict', folder, films / 'Pro')
    assert done.returncode == 0 and len(done.stdout.strip().splitlines()) == 31
    failed(leukocls('predict', folder, *paths, '--csv', tmp_path / 'p.csv'), 'exists already')
    failed(leukocls('predict', folder, *paths, '--csv', tmp_path), 'is a folder')
    (tmp_path / 'half.png').write_bytes(paths[0].read_bytes()[:500])
    done = here('predict', folder, tmp_path / 'half.png', paths[0], '--tta')
    assert (
        done.returncode == 0
        and '1 of 2 images could not be read' in done.stderr
        and 'truncated' in done.stdout
    )
    failed(here('predict', folder, tmp_path / 'half.png', '--on-error', 'raise'), 'truncated')
    failed(here('predict', folder, paths[0], '--engine', 'warp'), 'Use one of: auto')
    done = leukocls('evaluate', folder, films, '--json', tmp_path / 'm.json')
    assert done.returncode == 0, done.stderr
    failed(leukocls('evaluate', folder, films, '--json', tmp_path), 'is a folder')
    assert (
        json.loads((tmp_path / 'm.json').read_text())['n'] == 120
        and 'were trained on: figures are too good' in done.stdout
    )


@pytest.mark.once
def test_demo(tmp_path, monkeypatch):
    done = leukocls('demo', '--patients', 4, '--images', 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / 'runs' / 'small-cnn-seed42'
    for name in ('report.html', 'learner.pkl', 'plots', 'metrics.json'):
        assert (run / name).exists() and name in done.stdout
    assert 'no clinical meaning' in done.stdout and 'accuracy' in done.stdout
    # the images stay, so that what was done can be repeated
    films = tmp_path / 'runs' / 'demo-films-4x2-seed42'
    table = pd.read_csv(run / 'table.csv')
    assert len(list(films.rglob('*.png'))) == 32 and all(map(os.path.isfile, table.path))
    # honesty stands beside the figure
    assert 'Split by patient: nobody is on two sides.' in done.stdout
    assert 'alone reaches' in done.stdout and 'synthetic' in done.stdout
    # three commands that work as they stand
    after = done.stdout.split('To try next:')[1]
    commands = [line.strip() for line in after.splitlines() if line.startswith('    leukocls ')]
    assert [shlex.split(command)[1] for command in commands] == ['predict', 'audit', 'train']
    for command in commands:
        words = shlex.split(command)[1:]
        monkeypatch.chdir(tmp_path)
        done = here(*words)
        assert done.returncode == 0, done.stderr
    assert (
        'Random split' in done.stdout and len(list((tmp_path / 'runs').glob('*/report.html'))) == 2
    )


def test_the_demo_shows_that_it_works():
    "A dot for each second while something takes long; how long it took; also where it fails."
    from leukocls.cli.commands import working

    said = io.StringIO()
    with contextlib.redirect_stdout(said), working('Waiting', every=0.05):
        time.sleep(0.4)
    assert re.fullmatch(r'Waiting …\.{3,8} 0 s\n', said.getvalue())
    said = io.StringIO()
    with pytest.raises(ValueError), contextlib.redirect_stdout(said), working('Waiting'):
        raise ValueError
    assert said.getvalue() == 'Waiting … 0 s\n'


def test_without_a_recipe_it_is_the_one_that_suits_the_machine(films, tmp_path, monkeypatch):
    "And where ImageNet weights cannot be had, a sentence says how to give them."
    offline = dict(os.environ, HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path / 'hub'))
    done = leukocls('train', films, '--device', 'cpu', '--out', tmp_path / 'runs', env=offline)
    failed(done, 'ImageNet weights')
    assert 'Recipe probe: there is no GPU' in done.stderr and '--weights' in done.stderr
    assert 'effb3' in done.stderr
    # what the library has read of these variables when it started
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    done = here('train', films, '--device', 'cpu', '--epochs', 1, '--out', tmp_path / 'runs')
    failed(done, 'ImageNet weights')
    assert 'Recipe effb3: epochs is asked for' in done.stderr


def test_the_usual_recipe_with_a_gpu(monkeypatch, capsys):
    import torch

    from leukocls.runs.experiment import usual_recipe

    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    assert usual_recipe() == usual_recipe('cuda') == 'effb3' and usual_recipe('cpu') == 'probe'
    said = capsys.readouterr().err
    assert 'Recipe effb3: there is a GPU. The other way: recipes="probe"' in said
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    assert usual_recipe() == 'probe'


def test_predict_gives_one_answer_for_each_patient(run, small_bundle, films, tmp_path):
    from leukocls.data.films import FILM_PATIENT

    table = tmp_path / 'patients.csv'
    done = here('predict', small_bundle, films, '--patient', FILM_PATIENT, '--csv', table)
    assert done.returncode == 0, done.stderr
    answers = pd.read_csv(table)
    assert answers.patient.nunique() == len(answers) == run.table.patient.nunique()
    assert (answers.cells + answers.refused).sum() == len(run.table)
    assert not answers.certain.any()
    # a folder for each: here those of the classes
    by_folder = here('predict', small_bundle, films, '--by-patient')
    assert [line.split(':')[0] for line in by_folder.stdout.splitlines()] == sorted(
        p.name for p in films.iterdir() if p.is_dir()
    )
    failed(here('predict', run.folder, films, '--by-patient'), 'leukocls export')
    failed(here('predict', small_bundle, films, '--patient', '(X)_'), 'No patient in')


def test_predict_says_where_it_can_run(run, small_bundle, films, tmp_path):
    "A device that is not here, a table of another kind: said in a line, nothing written."
    import torch

    one = next(films.rglob('*.png'))
    if not torch.cuda.is_available():
        for command in (('predict', run.folder, one), ('evaluate', run.folder, films)):
            failed(here(*command, '--device', 'cuda'), 'not available here')
    failed(here('predict', run.folder, one, '--csv', tmp_path / 'p.xlsx'), 'ends so')
    failed(here('predict', small_bundle, one, '--device', 'cuda'), 'on the CPU')
    failed(here('predict', small_bundle, one, '--csv', tmp_path / 'p.xlsx'), 'ends in .csv')
    part = 'predict', small_bundle, one, '--shard', '1/2', '--csv', tmp_path / 'p.parquet'
    failed(here(*part), 'ends in .csv')
    assert not list(tmp_path.glob('*p.*'))
    done = here('predict', run.folder, one, '--device', 'cpu')
    assert done.returncode == 0 and one.name in done.stdout
    failed(here('predict', run.folder, tmp_path), 'holds no image')


def test_a_bundle_writes_parquet_too(small_bundle, films, tmp_path):
    "The rows of the CSV file."
    tables = [tmp_path / 'p.csv', tmp_path / 'p.parquet']
    for table in tables:
        done = here('predict', small_bundle, films, '--csv', table)
        assert done.returncode == 0, done.stderr
    as_csv, as_parquet = pd.read_csv(tables[0]), pd.read_parquet(tables[1])
    assert as_csv.path.tolist() == as_parquet.path.tolist()
    probabilities = [c for c in as_csv if c.startswith('p_')]
    assert np.allclose(as_csv[probabilities], as_parquet[probabilities], atol=1e-6)
    assert as_csv.pred.tolist() == as_parquet.pred.tolist()


def test_ctrl_c_is_said(films, tmp_path):
    "In a real process that gets the signal while it works."
    code = (
        'import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import'
        ' leukocls.audit.findings as a; a.audit = lambda *x, **k: os.kill(os.getpid(), signal.SIGINT); from'
        ' leukocls.cli.commands import main; main(["audit", sys.argv[1]])'
    )
    got = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(films)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (
        got.returncode == 130
        and got.stderr.count('Interrupted.') == 1
        and 'Traceback' not in got.stderr
    ), got.stderr


@pytest.fixture
def meadow(tmp_path):
    "A picture of a meadow below a sky."
    a = np.full((120, 160, 3), (60, 140, 40), 'uint8')
    a[:60] = 90, 150, 230
    Image.fromarray(a).save(tmp_path / 'meadow.png')
    return tmp_path / 'meadow.png'


def test_a_run_says_of_an_image_that_it_does_not_know_it(run, small_bundle, films, meadow):
    "`Benign 0.9992` was all that was said of a photograph; the sentence is the bundle's."
    film = sorted(films.rglob('*.png'))[0]
    done, theirs = (here('predict', model, meadow, film) for model in (run.folder, small_bundle))
    assert done.returncode == theirs.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout), sep='\t')
    assert list(table)[-4:] == ['classes', 'refer', 'why', 'in_domain']
    assert table.in_domain.tolist() == [False, True] and table.refer[0]
    sentence = theirs.stdout.splitlines()[0]
    assert sentence in done.stderr and 'is not to be relied on' in sentence
    assert str(film) not in done.stderr


def test_a_run_without_a_gate_says_so(run, films, meadow, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / 'copy')
    (copy / 'gate.json').unlink()
    done = here('predict', copy, meadow)
    assert done.returncode == 0 and done.stderr.count('has no gate.json') == 1
    assert 'in_domain' not in done.stdout
    done = here('predict', run.folder / 'learner.pkl', meadow, '--trust')
    assert done.returncode == 0 and 'gate' not in done.stderr and 'in_domain' not in done.stdout


def test_a_run_that_was_not_finished(run, films, tmp_path):
    "A training that was broken off, or still goes on, is said in a sentence."
    half = tmp_path / 'half'
    half.mkdir()
    info = json.loads((run.folder / 'recipe.json').read_text()) | dict(status='training')
    (half / 'recipe.json').write_text(json.dumps(info))
    shutil.copy(run.folder / 'table.csv', half)
    one = next(films.rglob('*.png'))
    for command in (('predict', half, one), ('evaluate', half, films), ('export', half)):
        failed(here(*command), 'this run was not finished')
    from leukocls.core.errors import RunError
    from leukocls.runs.run import Run

    for name in ('learner', 'history', 'metrics', 'predictions'):
        with pytest.raises(RunError, match='this run was not finished'):
            getattr(Run(half), name)
    info['status'] = 'finished'
    (half / 'recipe.json').write_text(json.dumps(info))
    failed(here('predict', half, one), 'has no model.safetensors')


@pytest.mark.parametrize('where', ['read-only', 'below a file', 'name too long'])
def test_a_place_that_cannot_be_written_is_said_first(films, run, tmp_path, monkeypatch, where):
    "Before images are read, not after hours."
    import leukocls.data.table as data

    monkeypatch.setattr(data, 'read_table', lambda *a, **k: 1 / 0)
    monkeypatch.setattr(data, 'check_images', lambda *a, **k: 1 / 0)
    (tmp_path / 'file').touch()
    closed = tmp_path / 'closed'
    closed.mkdir()
    real = os.access
    monkeypatch.setattr(os, 'access', lambda path, *a: path != closed and real(path, *a))
    target = {
        'read-only': closed / 'new/a.html',
        'below a file': tmp_path / 'file/a.html',
        'name too long': tmp_path / ('a' * 300 + '.html'),
    }[where]
    said = {'read-only': 'Permission denied', 'below a file': 'below it'}.get(where, 'too long')
    for command in (
        ('evaluate', run.folder, films, '--json', target),
        ('audit', films, '--html', target),
        ('train', films, '--out', target),
        ('reproduce', 'p4', films, '--out', target),
        ('export', run.folder, '--out', target),
        ('demo', '--out', target),
    ):
        failed(here(*command), said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['closed', 'file']
    assert not list(closed.iterdir())


def test_trying_leaves_nothing_behind(tmp_path):
    from leukocls.cli.options import check_folder, check_target

    check_target(tmp_path / 'a/b.csv')
    check_folder(tmp_path / 'runs/deep')
    (tmp_path / 'runs').mkdir()
    check_folder(tmp_path / 'runs')
    assert [p.name for p in tmp_path.rglob('*')] == ['runs']


@pytest.mark.parametrize('encoding', ['cp1252', 'cp932', 'ascii'])
def test_output_in_a_narrow_encoding(small_bundle, films, tmp_path, encoding):
    "On Windows what goes into a file is written in the system's code page, which lacks signs of ours."
    name = tmp_path / 'é 白血病.png'
    shutil.copy(next(films.rglob('*.png')), name)
    (tmp_path / 'm.csv').write_text('name,label,sha256\na.png,Pro,x\nb.png,Pre,x\n')
    for command in (
        ('recipes',),
        ('recipes', '--json'),
        ('audit', tmp_path / 'm.csv'),
        ('predict', small_bundle, name),
    ):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'leukocls', *map(str, command)],
            capture_output=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, 'PYTHONIOENCODING': encoding, 'PYTHONUTF8': '0'},
        )
        assert done.returncode == 0, (command, done.stderr[-500:])
        assert b'Traceback' not in done.stderr and len(done.stdout) > 20


def test_names_do_not_drive_the_terminal(run, small_bundle, films, tmp_path):
    "A file may be called like a command that sets the window's title, or turns the text around."
    name = 'a\x1b]0;mine\x07\u202egnp.png'
    try:
        shutil.copy(next(films.rglob('*.png')), tmp_path / name)
    except OSError:
        pytest.skip('this file system takes no such names')
    for model in (run.folder, small_bundle):
        done = here('predict', model, tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert 'a\\x1b]0;mine\\x07\\u202egnp.png' in done.stdout
        assert not {'\x1b', '\x07', '\u202e'} & {*done.stdout, *done.stderr}
    failed(here('predict', run.folder, f'{tmp_path}/no{name}'), 'no such file')
    assert '\x1b' not in here('predict', run.folder, f'{tmp_path}/no{name}').stderr


def test_a_terminal_without_these_signs_gets_plain_ones():
    from leukocls.cli.options import print_whatever_comes

    stream = io.TextIOWrapper(io.BytesIO(), 'koi8-r', newline='')
    print_whatever_comes(stream)
    print('20 µm → 3 × 4', file=stream)
    stream.flush()
    assert stream.buffer.getvalue() == b'20 um -> 3 x 4\n'


# Command → what it calls, by module and name: those whose defaults stand in both
CALLS = {
    'train': 'leukocls.runs.experiment train_all',
    'reproduce': 'leukocls.runs.reproduction reproduce',
    'across': 'leukocls.runs.across across',
    'adapt': 'leukocls.runs.adapt adapt',
    'cells': 'leukocls.data.crops crop_cells',
    'serve': 'leukocls.web.server serve',
}


@pytest.mark.parametrize('name', CALLS)
def test_a_command_begins_with_the_values_of_the_library(name):
    """A command's defaults are written out, so that `--help` need not import what it calls. They are
    those of the library: where one is changed, this says which was forgotten.
    """
    from leukocls.cli.commands import app

    (command,) = (
        c.callback for c in app.registered_commands if (c.name or c.callback.__name__) == name
    )
    module, function = CALLS[name].split()
    library = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    given = inspect.signature(command).parameters
    numbers = [
        k for k in given.keys() & library.keys() if type(given[k].default) in (int, float, str)
    ]
    assert len(numbers) >= 2
    for k in numbers:
        assert given[k].default == library[k].default, (name, k)


def test_each_recipe_is_explained_with_a_command_that_runs_it():
    from leukocls.train.recipes import get_recipe, recipes

    for row in recipes().itertuples():
        done = here('recipes', row.Index)
        assert done.returncode == 0, done.stderr
        recipe, lines = get_recipe(row.Index), done.stdout.splitlines()
        assert lines[0] == f'{recipe.name}: {recipe.title}' and max(map(len, lines)) <= 120
        (run,) = (line.split(maxsplit=2)[2] for line in lines if line.startswith('Run it'))
        assert shlex.split(run)[:4] == ['leukocls', 'train', 'DATA', '--recipe']
        assert get_recipe(shlex.split(run)[4]) == recipe
        for changed in (line for line in lines if line.startswith('Change it')):
            words = shlex.split(changed)[7:]
            fields = dict(zip((w.removeprefix('--') for w in words[::2]), map(int, words[1::2])))
            assert get_recipe(recipe, **fields) != recipe or not fields
        for figure in recipe.published:
            assert figure in done.stdout
        assert len(recipe.filled) == 0 or 'What the paper leaves open' in done.stdout
