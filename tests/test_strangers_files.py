"""Files that others have put there: caches, pipes, links, names that a terminal or a spreadsheet
obeys, numbers that are none. Whatever they are, nobody waits for ever, nothing of others is
overwritten or believed, and what is wrong is said in a sentence.
"""

import csv
import importlib
import inspect
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import leukocls.core as core
import leukocls.core.cache as memory
import leukocls.core.files as files
import leukocls.data.images as images
import leukocls.deploy.classifier as classify
import leukocls.models.engines as engines
import leukocls.models.frozen as features
import leukocls.models.networks as networks
import leukocls.runs.experiment as experiment
from leukocls.audit.findings import Audit
from leukocls.audit.labels import DoubtfulLabels, corrected
from leukocls.cli.options import say
from leukocls.core.cache import Remembered, kept
from leukocls.core.errors import DataError, ModelError, RunError
from leukocls.core.files import cache_folder
from leukocls.core.resumed import write_resumed
from leukocls.data.survey import Looks, look
from leukocls.data.table import check_images, read_table
from leukocls.deploy.classifier import Classifier, Prediction, write_table
from leukocls.measure.domain import Gate, fit_gate
from leukocls.train.folder import keep_learner, take_learner, write_csv

posix = pytest.mark.skipif(os.name == 'nt', reason='no owners, modes and pipes there')
bytes_as_names = pytest.mark.skipif(
    sys.platform == 'darwin' or os.name == 'nt', reason='names are always text there'
)


@contextmanager
def soon(seconds=60):
    "A test that waits, as at a pipe, fails."

    def late(*a):
        raise AssertionError('it waits')

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mode_of(path):
    return os.stat(path).st_mode & 0o777


# What is kept


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    files._warn_once.cache_clear()
    return tmp_path / 'cache'


def others_may_write_the_file(path, monkeypatch):
    path.chmod(0o666)


def a_group_may_write_the_file(path, monkeypatch):
    path.chmod(0o660)


def another_user_owns_it(path, monkeypatch):
    monkeypatch.setattr(os, 'getuid', lambda: path.stat().st_uid + 1)


def a_link_leads_elsewhere(path, monkeypatch):
    other = path.parent.parent.parent / 'theirs'
    path.rename(other)
    path.symlink_to(other)


def others_may_write_above_it(path, monkeypatch):
    path.parent.parent.chmod(0o777)


SPOILERS = [
    others_may_write_the_file,
    a_group_may_write_the_file,
    another_user_owns_it,
    a_link_leads_elsewhere,
    others_may_write_above_it,
]
spoiled = pytest.mark.parametrize('spoil', SPOILERS, ids=[s.__name__ for s in SPOILERS])
quietly = pytest.mark.filterwarnings('ignore:.*can be written by others')


@posix
@quietly
@spoiled
def test_rows_that_others_can_have_written_are_not_used(cache, monkeypatch, spoil):
    name = np.zeros((1, 32), 'uint8')
    Remembered('features', 'key').put(name, np.array([[1.0, 2.0]]))
    assert Remembered('features', 'key').get(name)[1].all()
    (file,) = (cache / 'features').iterdir()
    spoil(file, monkeypatch)
    rows, known = Remembered('features', 'key').get(name)
    assert rows is None and not known.any()


@posix
@quietly
@spoiled
def test_files_that_others_can_have_written_are_made_again(cache, monkeypatch, spoil):
    "Facts, states, gates, heads, tables of pairs: whatever goes through `kept`."

    def read(path):
        return path.read_text()

    assert kept('gates', 'a.json', lambda: 'ours', read) == 'ours'
    file = cache / 'gates' / 'a.json'
    file.write_text('theirs')
    assert kept('gates', 'a.json', lambda: 'ours', read) == 'theirs'
    spoil(file, monkeypatch)
    assert kept('gates', 'a.json', lambda: 'ours', read) == 'ours'


@posix
@quietly
@spoiled
def test_rates_that_others_can_have_written_are_not_believed(cache, monkeypatch, spoil):
    features.tell_rate('net', 1000, 2.0)
    assert features.known_rate('net') == 500
    spoil(cache / 'features' / 'net.rate', monkeypatch)
    assert features.known_rate('net') == 0


def learner_of(file):
    "A file that could be a learner.pkl, as the cache holds it."
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, 'w') as z:
        z.writestr('learner/data.pkl', 'ours')


@posix
@quietly
@spoiled
def test_learners_that_others_can_have_written_are_not_taken(cache, tmp_path, monkeypatch, spoil):
    "A learner.pkl runs what it holds."
    file = cache_folder('learners') / 'a.pkl'
    learner_of(file)
    assert take_learner(file, tmp_path / 'run')
    (tmp_path / 'run' / 'learner.pkl').unlink()
    spoil(file, monkeypatch)
    assert not take_learner(file, tmp_path / 'run')
    assert not (tmp_path / 'run' / 'learner.pkl').exists()


@posix
@quietly
@spoiled
def test_choices_that_others_can_have_written_are_not_believed(cache, monkeypatch, spoil):
    file = memory.keep('engines', 'a.json', '{"engine": "openvino"}')
    assert engines._remembered('a') == 'openvino'
    spoil(file, monkeypatch)
    assert engines._remembered('a') == ''


class NoOpenVino:
    "Saves a network of two words."

    def save_model(self, model, path, compress_to_fp16):
        Path(path).write_text('network')
        Path(path).with_suffix('.bin').write_text('weights')


@posix
@quietly
@spoiled
def test_networks_that_others_can_have_written_are_not_opened(cache, monkeypatch, spoil):
    xml = cache_folder('engines') / 'a.xml'
    networks._keep(NoOpenVino(), None, xml)
    monkeypatch.setattr(engines, 'OpenVinoEngine', lambda *a: 'opened')
    assert engines.open_kept(xml) == 'opened'
    spoil(xml.with_suffix('.sum'), monkeypatch)
    with pytest.raises(ModelError):
        engines.open_kept(xml)


@posix
@pytest.mark.parametrize('umask', [0o022, 0o002, 0o000])
def test_learners_and_networks_are_kept_for_their_owner_alone(cache, tmp_path, umask):
    before = os.umask(umask)
    try:
        networks._keep(NoOpenVino(), None, cache_folder('engines') / 'a.xml')
        learner_of(tmp_path / 'run' / 'learner.pkl')
        keep_learner(cache_folder('learners') / 'a.pkl', tmp_path / 'run')
    finally:
        os.umask(before)
    modes = {p.name: mode_of(p) for p in cache.rglob('*.*')}
    assert modes == dict.fromkeys(('a.xml', 'a.bin', 'a.sum', 'a.pkl'), 0o600)


@posix
@pytest.mark.parametrize('name', ['a.pkl', 'a.json', 'a.sum'])
def test_nobody_waits_for_a_pipe_in_the_cache(cache, tmp_path, name):
    folder = cache_folder('engines')
    os.mkfifo(folder / name)
    if name != 'a.sum':
        with soon():
            assert not take_learner(folder / name, tmp_path / 'run')
            assert engines._remembered('a') == ''
        return
    for end in ('.xml', '.bin'):
        (folder / 'a').with_suffix(end).write_text('')
    with soon(), pytest.raises(ModelError):
        engines.open_kept(folder / 'a.xml')


@posix
def test_what_is_kept_is_for_its_owner_alone(cache):
    name = np.zeros((1, 32), 'uint8')
    Remembered('looks', 'key').put(name, np.array([[1.0]]))
    memory.keep('engines', 'a.json', '{}')
    assert {mode_of(p) for p in (cache, cache / 'looks', cache / 'engines')} == {0o700}
    assert {mode_of(p) for p in cache.rglob('*.*')} == {0o600}


@posix
@pytest.mark.parametrize('mode', [0o755, 0o777, 0o750])
def test_rights_that_an_older_version_gave_are_taken_back(cache, mode):
    "Names of files and pictures of patients' cells lie there."
    name = np.zeros((1, 32), 'uint8')
    Remembered('looks', 'key').put(name, np.array([[1.0]]))
    (file,) = (cache / 'looks').iterdir()
    (cache / 'looks').chmod(mode)
    file.chmod(0o644)
    believed = Remembered('looks', 'key').get(name)[1].all()
    assert mode_of(cache / 'looks') == 0o700
    # where others could write, they could have given one file another's name
    assert believed == (not mode & 0o022) and file.exists() == believed
    assert not believed or mode_of(file) == 0o600


@posix
@pytest.mark.parametrize('mode,safe', [(0o777, False), (0o775, False), (0o1777, True)])
def test_an_unsafe_place_is_named_once(tmp_path, monkeypatch, mode, safe):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'shared' / 'cache'))
    (tmp_path / 'shared').mkdir()
    (tmp_path / 'shared').chmod(mode)
    files._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        folders = [cache_folder(name) for name in ('looks', 'features', 'looks')]
    assert [f is not None for f in folders] == [safe] * 3
    assert len(told) == (not safe) and all('shared' in str(w.message) for w in told)
    assert mode_of(tmp_path / 'shared') == mode & 0o777, 'a folder that others named is left alone'


@posix
@pytest.mark.parametrize(
    'env', [{}, {'XDG_CACHE_HOME': ''}, {'LEUKOCLS_CACHE': ''}], ids=['none', 'xdg', 'empty']
)
def test_a_user_without_a_home_has_no_cache(root, env):
    "As a service with a user of its own runs, and `env -i` in a container with any user number."
    code = (
        'import os, pwd\nfrom leukocls.core.files import cache_folder\n'
        'def unknown(uid): raise KeyError(uid)\n'
        'pwd.getpwuid = unknown\n'
        'if os.getuid() == 0: os.setuid(54321)\n'
        "print(cache_folder('looks'))"
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={'PYTHONPATH': str(root), **env},
        cwd='/',
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, 'None\n'), done.stderr


# What is no file


def pipe(path):
    os.mkfifo(path)


def endless_device(path):
    path.symlink_to('/dev/zero')


def listening_socket(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


def folder(path):
    path.mkdir()


def terabytes(path):
    with open(path, 'wb') as f:
        f.truncate(2**42)


ODD = dict(
    pipe=(pipe, 'a pipe, not a file'),
    device=(endless_device, 'a device, not a file'),
    socket=(listening_socket, 'not a file'),
    folder=(folder, 'a folder, not a file'),
    terabytes=(terabytes, 'larger than'),
)

ASK_ALL = """
import json, sys
from leukocls.core.errors import LeukoError
from leukocls.data.images import Pixels, open_cell, read_batches, whole_file
from leukocls.data.survey import look
from leukocls.core.cache import content_hashes
good, *odd = sys.argv[1:]
def ask(what, *args):
    try: return str(what(*args))
    except LeukoError as e: return 'ERROR ' + str(e)
for o in odd:
    batches = read_batches([good, o], Pixels(8), on_error='keep')
    print(json.dumps([
        ask(whole_file, o), ask(open_cell, o), ask(content_hashes, [good, o]),
        look([good, o]).facts.error[1], str([list(b[2].values()) for b in batches])]))
"""


@pytest.fixture(scope='module')
def said_of_odd_files(tmp_path_factory, root):
    "What everything that opens files says of what is no file, in a process that may be stopped."
    d = tmp_path_factory.mktemp('odd')
    Image.new('RGB', (9, 9)).save(d / 'good.png')
    for kind, (make, _) in ODD.items():
        make(d / f'{kind}.png')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', ASK_ALL]
        + [str(d / f'{name}.png') for name in ('good', *ODD)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, 'PYTHONPATH': str(root), 'LEUKOCLS_CACHE': 'off'},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(ODD, map(json.loads, done.stdout.splitlines())))


@posix
@pytest.mark.parametrize('kind', ODD)
def test_nobody_waits_for_what_is_no_file(said_of_odd_files, kind):
    said = said_of_odd_files[kind]
    assert [ODD[kind][1] in s for s in said] == [True] * 5, said


@posix
def test_a_file_that_grows_is_read_up_to_its_limit(tmp_path):
    "The size that the system tells is not believed: a file may grow meanwhile."

    class Growing(io.RawIOBase):
        def read(self, n=-1):
            return b'x' * n

    assert core.read_up_to(Growing(), 10**6) is None
    assert core.read_up_to(io.BytesIO(b'x' * 10**6), 10**6) == b'x' * 10**6
    (tmp_path / 'a').write_bytes(b'12345')
    assert core.read_regular(tmp_path / 'a', 5) == b'12345'
    for path, most in ((tmp_path / 'a', 4), (tmp_path, 100), ('/dev/null', 100)):
        with pytest.raises(DataError):
            core.read_regular(path, most)
    with pytest.raises(FileNotFoundError):
        core.read_regular(tmp_path / 'none')


@posix
@pytest.mark.parametrize('reader', ['text tables', 'the system'])
def test_the_error_about_an_odd_file_is_one_of_both_families(tmp_path, reader):
    "Whoever reports errors of the system, or of the library, reports this one."
    with pytest.raises(DataError if reader == 'text tables' else OSError) as e:
        core.open_regular(tmp_path)
    assert e.value.strerror == e.value.reason == 'a folder, not a file'
    assert str(e.value).startswith(f'{tmp_path}: a folder, not a file.')
    # it may be a run, or all of a user's pictures
    assert 'Remove' not in str(e.value) and 'Name a file in it' in str(e.value)


# What a command is given: a table, weights, a run

COMMANDS = """
import contextlib, io, json, signal, sys
from leukocls.cli.commands import main

def late(*a):
    raise AssertionError('it waits')

signal.signal(signal.SIGALRM, late)
for words in json.loads(sys.argv[1]):
    text = io.StringIO()
    signal.alarm(100)
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            main(words)
        code = 0
    except SystemExit as e:
        code = e.code
    except BaseException as e:
        code, _ = repr(e), text.write(repr(e))
    signal.alarm(0)
    print(json.dumps([code, text.getvalue()]), flush=True)
"""

ODD_INPUTS = [
    ('audit', 'x.csv', 'pipe'),
    ('audit', 'x.csv', 'device'),
    ('train', 'x.csv', 'pipe'),
    ('train', 'x.csv', 'terabytes'),
    ('evaluate', 'x.csv', 'pipe'),
    ('evaluate', 'x.csv', 'socket'),
    ('train', 'config.json', 'pipe'),
    ('train', 'config.json', 'folder'),
    ('train', 'config.json', 'device'),
    ('train', 'model.safetensors', 'pipe'),
    ('audit', 'config.json', 'pipe'),
    ('predict', 'recipe.json', 'pipe'),
    ('predict', 'table.csv', 'pipe'),
    ('predict', 'gate.json', 'terabytes'),
    ('evaluate', 'recipe.json', 'device'),
    ('evaluate', 'table.csv', 'pipe'),
    ('export', 'recipe.json', 'pipe'),
    ('export', 'metrics.json', 'pipe'),
    ('export', 'metrics.json', 'terabytes'),
    ('export', 'table.csv', 'pipe'),
]


@contextmanager
def inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def odd_input(d, name, kind, run, weights):
    "A folder with a table, a run and weights, of which one file is none."
    d.mkdir()
    shutil.copytree(run.folder, d / 'run')
    shutil.copytree(weights, d / 'weights')
    place = d / 'weights' if name in ('config.json', 'model.safetensors') else d / 'run'
    if name == 'x.csv':
        place = d
    (place / name).unlink(missing_ok=True)
    with inside(place):
        # the name of a socket must be short
        ODD[kind][0](Path(name))


def words_of(command, name, d, films):
    "The command line that comes to the odd file."
    table = str(d / 'x.csv') if name == 'x.csv' else str(films)
    run, image = str(d / 'run'), str(next(films.glob('*/*')))
    weights = ['--weights', str(d / 'weights')] if name.startswith(('config', 'model')) else []
    return {
        'audit': ['audit', table, *(['--labels', str(d / 'l.csv')] if weights else []), *weights],
        'train': [
            *(
                'train',
                table,
                '--recipe',
                'mobilenetv2',
                '--arch',
                'test_efficientnet',
                '--epochs',
                '1',
                '--size',
                '32',
            ),
            *('--device', 'cpu', '--out', str(d / 'runs'), *weights),
        ],
        'evaluate': ['evaluate', run, table],
        'predict': ['predict', run, image],
        'export': ['export', run, '--out', str(d / 'bundle')],
    }[command]


@pytest.fixture(scope='module')
def said_of_odd_inputs(tmp_path_factory, root, run, films, local_weights):
    "What the command line says of each of `ODD_INPUTS`: code and text."
    d, words = tmp_path_factory.mktemp('inputs'), []
    for i, (command, name, kind) in enumerate(ODD_INPUTS):
        odd_input(d / str(i), name, kind, run, local_weights)
        words.append(words_of(command, name, d / str(i), films))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', COMMANDS, json.dumps(words)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, 'PYTHONPATH': str(root)},
    )
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@posix
@pytest.mark.once
@pytest.mark.parametrize('i', range(len(ODD_INPUTS)), ids=[' '.join(words) for words in ODD_INPUTS])
def test_no_command_waits_for_what_is_no_file(said_of_odd_inputs, i):
    "One sentence, and 2 as the program's answer."
    (code, text), (_, name, _) = said_of_odd_inputs[i], ODD_INPUTS[i]
    error = text[text.find('Error: ') :]
    named = name in error or 'a file or folder of weights' in error
    assert code == 2 and error.startswith('Error: ') and named, text
    assert 'Traceback' not in text and error.count('\n') == 1, text


# Links and names in folders


def link_to_itself(d):
    (d / 'a').symlink_to('a')


def picture_that_links_to_itself(d):
    (d / 'a.png').symlink_to('a.png')


def two_links_in_a_circle(d):
    (d / 'a').symlink_to('b')
    (d / 'b').symlink_to('a')


def broken_link(d):
    (d / 'a.png').symlink_to('nowhere.png')


def folder_in_itself(d):
    (d / 'again').symlink_to(d)


@posix
@pytest.mark.parametrize(
    'make,found,others',
    [
        (link_to_itself, 0, 1),
        (picture_that_links_to_itself, 1, 0),
        (two_links_in_a_circle, 0, 2),
        (broken_link, 1, 0),
        (folder_in_itself, 0, 0),
    ],
)
def test_links_that_lead_nowhere_do_not_stop_a_listing(tmp_path, make, found, others):
    d = tmp_path / 'cells' / 'Pro'
    d.mkdir(parents=True)
    Image.new('RGB', (9, 9)).save(d / 'good.png')
    make(d)
    ignored = Counter()
    paths = [p for p, _ in images.scan_folder(tmp_path / 'cells', ignored)]
    assert (len(paths), sum(ignored.values())) == (1 + found, others)
    errors = look(sorted(paths)).facts.error.tolist()
    assert sum(e != '' for e in errors) == found and not any('Errno' in e for e in errors)


def test_folders_within_folders_without_end(tmp_path):
    "Deeper than Python's own stack."
    deep = tmp_path
    for _ in range(300):
        deep = deep / 'd'
        deep.mkdir()
    (deep / 'a.png').touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        (found,) = images.scan_folder(tmp_path, Counter())
    finally:
        sys.setrecursionlimit(limit)
    assert len(found[1]) == 300


@bytes_as_names
@pytest.mark.parametrize('name', [b'cell\xff.png', b'Zelle \xe4.jpg', b'Pro\xb5/1.png'])
def test_names_that_are_no_text_are_a_sentence(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(b'')
    # a table of images to train on is text; predictions of a folder name the file by its bytes
    with pytest.raises(DataError, match='is no text') as e:
        read_table(tmp_path)
    str(e.value).encode()
    assert list(images.image_files(tmp_path)) == [os.fsdecode(path)]
    write_table(Known(), [os.fsdecode(path)], tmp_path / 'r.csv', progress=False)
    assert (tmp_path / 'r.csv').read_bytes().count(name) == 1


# What terminals and spreadsheets obey


@pytest.mark.parametrize(
    'text,shown',
    [
        ('Pro-B µ 細胞 é', 'Pro-B µ 細胞 é'),
        ('\x1b[2J\x1b]0;title\x07', r'\x1b[2J\x1b]0;title\x07'),
        ('\x9b31m', r'\x9b31m'),
        ('a\rb\nc\td', r'a\rb\nc\td'),
        ('\u202egnp.exe', r'\u202egnp.exe'),
        ('\u2066x\u2069', r'\u2066x\u2069'),
        ('\u2028\u2029', r'\u2028\u2029'),
        ('\x00\x7f', r'\x00\x7f'),
        ('\udcff', r'\xff'),
        ('می\u200cشود', 'می\u200cشود'),
        (5, '5'),
    ],
)
def test_control_characters_are_shown(text, shown):
    assert core.printable(text) == shown
    core.printable(text).encode()
    assert core.printable(f'{text}\n', keep='\n') == f'{shown}\n'.replace(r'\n', '\n')


@pytest.mark.parametrize('evil', ['\x1b[2J', '\x9b2J', 'a\rb', '\u202eb'])
def test_a_prediction_cannot_write_to_a_terminal(evil):
    p = Prediction(evil, evil, {evil: 1.0}, why=evil, refer=True, warnings=[evil])
    for shown in (p, Prediction(evil, error=evil), Prediction(evil, evil, in_domain=False)):
        assert evil not in str(shown) and str(shown).isprintable()
        assert evil not in shown._repr_html_()


@pytest.mark.once
@pytest.mark.parametrize('evil', ['\x1b[2J', '\u2028', '\u061c', '\xad', '\udcff', 'a\rb'])
def test_the_command_line_obeys_the_same_rule(capsys, evil):
    "Lines and columns stay, for tables that other programs read."
    say(f'{evil}\tb\nc')
    assert capsys.readouterr().out == f'{core.printable(evil)}\tb\nc\n'


@pytest.mark.once
def test_the_reason_of_an_unreadable_image_is_not_cut(tmp_path, monkeypatch):
    "Errors carry it beside their text."
    error = DataError('a.png: odd. Remove it.', 'made by v. 2. of a camera')

    def fail(path):
        raise error

    monkeypatch.setattr(importlib.import_module('leukocls.data.table'), 'open_cell', fail)
    (tmp_path / 'a.png').write_text('?')
    table = pd.DataFrame({'path': [str(tmp_path / 'a.png')], 'label': ['Pro']})
    with pytest.raises(DataError, match=r'\(made by v\. 2\. of a camera\)'):
        check_images(table)


CELLS = [
    ('=1+1', "'=1+1"),
    ('+1+1', "'+1+1"),
    ('-2+3+cmd|x!A1', "'-2+3+cmd|x!A1"),
    ('@SUM(A1)', "'@SUM(A1)"),
    ('\t=1', "'\t=1"),
    ('\r=1', "'\r=1"),
    (' =1', "' =1"),
    ('＝1+1', "'＝1+1"),
    ('\n', "'\n"),
    ('Pro', 'Pro'),
    ('a=1', 'a=1'),
    ('-1.5', '-1.5'),
    ('+3e-7', '+3e-7'),
    (-1.5, -1.5),
    ('', ''),
    (None, None),
    ('\x85=1', "'\x85=1"),
    ('\u3000＋1', "'\u3000＋1"),
    ('+1-2', "'+1-2"),
    ('-1e', "'-1e"),
    ('-٣', "'-٣"),
]


@pytest.mark.parametrize('cell,safe', CELLS)
def test_no_cell_is_a_formula(cell, safe):
    assert core.spreadsheet_safe(cell) == safe


@pytest.mark.once
@pytest.mark.skipif(shutil.which('node') is None, reason='no Node.js is installed')
def test_the_web_page_knows_the_same_rule(root):
    "What the page's `csvCell` writes for each of the cells, read as a CSV table."
    text = (root / 'leukocls/static/app.js').read_text(encoding='utf8')
    rule = text[text.index('const FORMULA') : text.index('function download(')]
    cells = json.dumps([cell for cell, _ in CELLS])
    code = f"{rule}process.stdout.write({cells}.map(csvCell).join(',') + '\\r\\n');"
    done = subprocess.run(['node', '-e', code], capture_output=True, check=True)
    (row,) = csv.reader(io.StringIO(done.stdout.decode(), newline=''), strict=True)
    assert row == ['' if safe is None else str(safe) for _, safe in CELLS]


EVIL = '=HYPERLINK("http://example.org")'
FOR_PEOPLE = pd.DataFrame(
    {'path': [EVIL, 'a.png'], 'label': ['-Pro', 'Pro'], 'p_own': [-0.5, 1.0], '@x': ['\n', None]}
)


def of_an_audit(path, monkeypatch):
    Audit({}, FOR_PEOPLE).to_csv(path)


def of_doubtful_labels(path, monkeypatch):
    DoubtfulLabels(FOR_PEOPLE, 2).to_csv(path)


def of_predictions(path, monkeypatch):
    rows = FOR_PEOPLE.fillna('').to_numpy().tolist()
    write_resumed(
        FOR_PEOPLE.path, path, [*FOR_PEOPLE], lambda paths: zip_rows(paths, rows), 'k', False
    )


def zip_rows(paths, rows):
    "A row for each path, as `write_resumed` asks for them."
    for _, row in zip(paths, rows):
        yield row


def of_runs(path, monkeypatch):
    # the wing has a function of the same name
    page = importlib.import_module('leukocls.runs.leaderboard')
    monkeypatch.setattr(page, 'plot_standings', lambda *a: Figure())
    runs = SimpleNamespace(standings=FOR_PEOPLE.set_index('path'))
    experiment._write_standings(runs, path.parent)
    (path.parent / 'leaderboard.csv').rename(path)


def of_a_repeated_paper(path, monkeypatch):
    from leukocls.cli.commands import main

    stopped = SimpleNamespace(interrupted=False)
    found = SimpleNamespace(table=FOR_PEOPLE.set_index('path'), repeated=stopped, honest=stopped)
    monkeypatch.setattr('leukocls.runs.reproduction.reproduce', lambda *a, **k: found)
    with pytest.raises(SystemExit):
        main(['reproduce', 'p1', str(path.parent), '--csv', str(path)])


@pytest.mark.once
@pytest.mark.parametrize(
    'table', [of_an_audit, of_doubtful_labels, of_predictions, of_runs, of_a_repeated_paper]
)
def test_tables_for_people_hold_no_formula(tmp_path, monkeypatch, table):
    "Whoever opens them sees names and numbers."
    monkeypatch.chdir(tmp_path)
    table(tmp_path / 't.csv', monkeypatch)
    assert rows_of(tmp_path / 't.csv') == [
        ['path', 'label', 'p_own', "'@x"],
        [f"'{EVIL}", "'-Pro", '-0.5', "'\n"],
        ['a.png', 'Pro', '1.0', ''],
    ]


@pytest.mark.once
def test_corrected_labels_find_their_images_again(tmp_path):
    "The apostrophes that keep a spreadsheet from running names are taken off."
    table = FOR_PEOPLE.assign(path=[EVIL, "'=b.png"])
    DoubtfulLabels(table, 2).to_csv(tmp_path / 'l.csv')
    new = corrected(table.assign(label='x'), tmp_path / 'l.csv')
    assert list(new.path) == list(table.path) and list(new.label) == ['-Pro', 'Pro']


@pytest.mark.once
def test_tables_for_programs_stay_exact(tmp_path):
    "A run's own are read back."
    write_csv(tmp_path / 'table.csv', FOR_PEOPLE)
    assert rows_of(tmp_path / 'table.csv')[1][0] == EVIL


class Known:
    "A classifier that is none: the class of an image is the first letter of its file."

    key, classes = 'k' * 16, ['=Pro', 'Early', '-1']

    def __init__(self, seconds=0.0, until=None):
        self.asked, self.seconds, self.until = [], seconds, until
        self.bundle = SimpleNamespace(files={})

    def stream(self, paths, names=None):
        for n, path in enumerate(paths):
            if n == self.until:
                raise KeyboardInterrupt
            self.asked.append(path)
            time.sleep(self.seconds)
            try:
                letter = Path(path).read_text()[:1]
            except OSError:
                yield Prediction(path, error='no such file')
                continue
            label = {'P': '=Pro', 'E': 'Early'}.get(letter, '-1')
            chances = {c: float(c == label) for c in self.classes}
            yield Prediction(path, label, chances, [label], why='+why', refer=True)


def cells(d, n=10, letter='P'):
    d.mkdir(exist_ok=True)
    for i in range(n):
        (d / f'{i:04d}.png').write_text(letter)
    return sorted(map(str, d.iterdir()))


def rows_of(path):
    with open(path, encoding='utf8', newline='') as f:
        return list(csv.reader(f, strict=True))


def formulas(path):
    return [c for row in rows_of(path) for c in row if c[:1] in '=+-@\t\r' and c]


NASTY = ['=cmd.png', '+1.png', '-2+3.png', '@x.png', 'a\rb.png', 'a\nb.png', 'a"b.png', '\tx.png']


@posix
@pytest.mark.once
@pytest.mark.parametrize('until', [None, 0, 5])
def test_a_table_holds_no_formula_and_finds_its_rows_again(tmp_path, monkeypatch, until):
    (tmp_path / 'd').mkdir()
    monkeypatch.chdir(tmp_path / 'd')
    for name in NASTY:
        Path(name).write_text('P')
    out = tmp_path / 'r.csv'
    first, second = Known(until=until), Known()
    if until is None:
        write_table(first, NASTY, out, progress=False)
    else:
        with pytest.raises(KeyboardInterrupt):
            write_table(first, NASTY, out, progress=False)
        write_table(second, NASTY, out, progress=False)
    assert formulas(out) == [] and len(rows_of(out)) == 1 + len(NASTY)
    assert [row[0].lstrip("'") for row in rows_of(out)[1:]] == NASTY
    assert {row[1] for row in rows_of(out)[1:]} == {"'=Pro"}
    assert first.asked + second.asked == NASTY, 'each was asked about once'


# The hidden file beside a table


def part_of(out):
    return out.with_name(f'.{out.name}.{Known.key}.part')


def planted_link(part, target):
    part.symlink_to(target)


def planted_second_name(part, target):
    os.link(target, part)


def planted_link_to_nowhere(part, target):
    part.symlink_to(target.with_name('new'))


def planted_pipe(part, target):
    os.mkfifo(part)


def planted_device(part, target):
    part.symlink_to('/dev/full')


@posix
@pytest.mark.once
@pytest.mark.parametrize(
    'plant',
    [planted_link, planted_second_name, planted_link_to_nowhere, planted_pipe, planted_device],
)
def test_nothing_is_written_where_somebody_planted_something(tmp_path, plant):
    paths = cells(tmp_path / 'd')
    target = tmp_path / 'precious'
    target.write_text('mine')
    out = tmp_path / 'r.csv'
    plant(part_of(out), target)
    with soon(), pytest.raises(RunError, match='Remove it'):
        write_table(Known(), paths, out, progress=False)
    assert target.read_text() == 'mine' and not out.exists()
    assert not (tmp_path / 'new').exists()


@posix
@pytest.mark.once
def test_another_users_hidden_file_is_refused(tmp_path, monkeypatch):
    paths, out = cells(tmp_path / 'd'), tmp_path / 'r.csv'
    part_of(out).write_text('theirs')
    monkeypatch.setattr(os, 'geteuid', lambda: part_of(out).stat().st_uid + 1)
    with pytest.raises(RunError, match="another user's file"):
        write_table(Known(), paths, out, progress=False)
    assert part_of(out).read_text() == 'theirs'


@posix
@pytest.mark.once
@pytest.mark.parametrize('umask,mode', [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_nobody_reads_a_table_before_it_is_complete(tmp_path, umask, mode):
    paths, out = cells(tmp_path / 'd'), tmp_path / 'r.csv'
    before = os.umask(umask)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_table(Known(until=5), paths, out, progress=False)
        assert mode_of(part_of(out)) == 0o600 and not out.exists()
        write_table(Known(), paths, out, progress=False)
    finally:
        os.umask(before)
    assert mode_of(out) == mode and not list(tmp_path.glob('.r.csv*'))


@posix
@pytest.mark.once
def test_rows_that_others_can_have_written_are_not_gone_on_with(tmp_path):
    paths, out = cells(tmp_path / 'd'), tmp_path / 'r.csv'
    with pytest.raises(KeyboardInterrupt):
        write_table(Known(until=5), paths, out, progress=False)
    part_of(out).chmod(0o666)
    again = Known()
    write_table(again, paths, out, progress=False)
    assert again.asked == paths


def written_anew(path):
    path.write_text('Early')


def replaced_by_another_file_of_the_same_size_and_time(path):
    s = path.stat()
    other = path.with_suffix('.new')
    other.write_text('E')
    os.utime(other, ns=(s.st_atime_ns, s.st_mtime_ns))
    os.replace(other, path)


def changed_and_set_back_in_time(path):
    s = path.stat()
    with open(path, 'r+') as f:
        f.write('E')
    os.utime(path, ns=(s.st_atime_ns, s.st_mtime_ns))


@posix
@pytest.mark.once
@pytest.mark.parametrize(
    'replace',
    [
        written_anew,
        replaced_by_another_file_of_the_same_size_and_time,
        changed_and_set_back_in_time,
    ],
)
def test_a_replaced_image_gets_a_new_row_after_kill_9(tmp_path, root, replace):
    "And every other row is kept, without asking again."
    paths, out = cells(tmp_path / 'd', 300), tmp_path / 'r.csv'
    code = (
        f'import sys; sys.path.insert(0, {str(root / "tests")!r})\n'
        'from test_strangers_files import Known, write_table; from pathlib import Path\n'
        f'paths = sorted(map(str, Path({str(tmp_path / "d")!r}).iterdir()))\n'
        f'write_table(Known(.01), paths, {str(out)!r}, progress=False)'
    )
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code])

    def lines():
        return part_of(out).read_bytes().count(b'\n') if part_of(out).exists() else 0

    while p.poll() is None and lines() < 100:
        time.sleep(0.01)
    p.kill()
    p.wait()
    done = lines() - 1
    assert 99 <= done < 300 and not out.exists()
    replace(Path(paths[50]))
    again = Known()
    write_table(again, paths, out, progress=False)
    assert sorted(again.asked) == sorted([paths[50], *paths[done:]])
    labels = [row[1] for row in rows_of(out)[1:]]
    assert labels == ["'=Pro"] * 50 + ['Early'] + ["'=Pro"] * 249
    assert [row[0] for row in rows_of(out)[1:]] == paths


@pytest.mark.once
def test_more_images_in_another_order_keep_the_rows_that_are_there(tmp_path):
    paths, out = cells(tmp_path / 'd'), tmp_path / 'r.csv'
    with pytest.raises(KeyboardInterrupt):
        write_table(Known(until=6), paths, out, progress=False)
    more = cells(tmp_path / 'e', letter='E') + paths[::-1]
    again = Known()
    write_table(again, more, out, progress=False)
    assert [row[0] for row in rows_of(out)[1:]] == more and len(again.asked) == 14


@pytest.mark.once
@pytest.mark.parametrize('what', ['gate', 'classes', 'half a line', 'no JSON', 'other JSON'])
def test_rows_of_something_else_are_not_gone_on_with(tmp_path, what):
    paths, out = cells(tmp_path / 'd'), tmp_path / 'r.csv'
    with pytest.raises(KeyboardInterrupt):
        write_table(Known(until=6), paths, out, progress=False)
    part, again = part_of(out), Known()
    text = part.read_bytes()
    if what == 'gate':
        again.bundle = SimpleNamespace(files={'gate.json': b'{}'})
    elif what == 'classes':
        again.classes = ['=Pro', 'Early', 'Other']
    else:
        middle = {'half a line': b'', 'no JSON': b'[' * 10**5, 'other JSON': b'[1, 2, 3]'}[what]
        first = text.index(b'\n') + 1
        second = text.index(b'\n', first) + 1
        part.write_bytes(text[: second + 20] if not middle else text[:second] + middle + b'\n')
        again.until = None
    write_table(again, paths, out, progress=False)
    assert len(again.asked) == (10 if what in ('gate', 'classes') else 9)
    assert [row[0] for row in rows_of(out)[1:]] == paths


# Answers that are no number


@pytest.fixture(scope='module')
def clf(small_bundle):
    return Classifier.load(small_bundle, 'onnxruntime')


class Spoilt:
    "An engine that gives no number for the images whose first byte is 7."

    def __init__(self, engine, value, column=0):
        self.engine, self.value, self.column, self.waiting = engine, value, column, []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def _spoil(self, x, z):
        z = np.array(z)
        z[x[:, 0, 0, 0] == 7, self.column] = self.value
        return z

    def __call__(self, x):
        return self._spoil(x, self.engine(x))

    def start(self, x):
        return x, self.engine.start(x)

    def finish(self, job):
        return self._spoil(job[0], self.engine.finish(job[1]))


@pytest.fixture(params=[np.nan, np.inf, -np.inf], ids=str)
def silent(request, clf, monkeypatch):
    monkeypatch.setattr(clf, 'engine', Spoilt(clf.engine, request.param))
    return clf


@pytest.mark.once
def test_no_number_is_an_error_of_its_image(silent, run, tmp_path):
    good, seven = run.table.path[0], tmp_path / 'seven.png'
    Image.new('RGB', (32, 32), (7, 7, 7)).save(seven)
    one, many = silent(seven), silent.many([good, seven, good])
    for p in (one, many[1]):
        assert 'the network gave no number' in p.error and (p.label, p.probabilities) == ('', {})
        assert 'nan' not in str(p) and 'nan' not in p._repr_html_()
        assert json.loads(json.dumps(p.to_dict(), allow_nan=False))['error']
    assert many[0].label == many[2].label != '' and not many[0].error
    write_table(silent, [good, str(seven)], tmp_path / 'r.csv', progress=False)
    head, first, second = rows_of(tmp_path / 'r.csv')
    assert 'no number' in second[-1] and set(second[1 : 2 + len(silent.classes)]) == {''}
    assert first[1] == many[0].label
    assert np.isfinite(silent.heat(seven)).all()
    silent.nearest(seven)


@pytest.mark.once
def test_features_that_are_no_number_are_none(clf, monkeypatch, tmp_path):
    Image.new('RGB', (32, 32), (7, 7, 7)).save(tmp_path / 'seven.png')
    monkeypatch.setattr(clf, 'engine', Spoilt(clf.engine, np.nan, column=-1))
    p = clf(tmp_path / 'seven.png')
    assert p.label and p.features is None and clf.nearest(p) == []
    assert clf.nearest(tmp_path / 'seven.png') == []


@pytest.mark.once
def test_a_judgement_leaves_no_answer_out_in_silence(silent, run, films, tmp_path):

    copy = shutil.copytree(films, tmp_path / 'films')
    victim = next(copy.glob('*/*'))
    Image.new('RGB', (32, 32), (7, 7, 7)).save(victim)
    with pytest.raises(DataError, match='1 of 120 images have no answer'):
        silent.evaluate(copy)
    m = silent.evaluate(copy, on_error='skip')
    assert m['n'] == 119 and any('no answer' in note for note in m['notes'])


@pytest.fixture(scope='module')
def gate(films):
    looks = look(sorted(films.glob('*/*')))
    half = np.arange(len(looks)) % 2 == 0
    return fit_gate(looks[np.flatnonzero(half)], looks[np.flatnonzero(~half)])


@pytest.mark.once
@pytest.mark.parametrize('name', ['middle', 'scale', 'centres', 'whiten'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_gate_of_no_numbers_lets_nothing_pass(gate, films, name, value):
    "Also where it was made by hand, and never read."
    looks = look(sorted(films.glob('*/*'))[:5])
    arrays = {k: np.array(getattr(gate, k)) for k in 'middle scale centres whiten'.split()}
    arrays[name][...] = value
    with np.errstate(all='ignore'):
        told = Gate(**arrays, usual=gate.usual, held=gate.held, alpha=0.01)(looks)
    if (name, value) != ('scale', np.inf):
        # which makes all images alike, as a scatter of anything does
        assert not told.in_domain.any() and (told.reason != '').all()


@pytest.mark.once
def test_an_image_that_cannot_be_measured_is_outside(gate):
    odd = np.full((1, 6), np.nan)
    told = gate(Looks.of(odd, np.zeros((1, 64, 64, 3), 'uint8')))
    assert not told.in_domain[0] and told.reason[0] == 'cannot be measured'


FORGED = dict(
    nan=lambda d: d['scale'].__setitem__(0, float('nan')),
    infinity=lambda d: d['middle'].__setitem__(0, float('inf')),
    text=lambda d: d['usual'].__setitem__(0, 'many'),
    nothing=lambda d: d.update(whiten=None),
    ragged=lambda d: d['whiten'].__setitem__(0, [1.0]),
    huge=lambda d: d['usual'].__setitem__(0, 10**400),
    short=lambda d: d['middle'].pop(),
    no_clusters=lambda d: d.update(centres=[]),
    many_clusters=lambda d: d.update(centres=d['centres'] * 100),
    flat=lambda d: d['scale'].__setitem__(0, 0.0),
    unsorted=lambda d: d.update(held=d['held'][::-1]),
    none_held=lambda d: d.update(held=[]),
    alpha_0=lambda d: d.update(alpha=0),
    alpha_1=lambda d: d.update(alpha=1.0),
    alpha_nan=lambda d: d.update(alpha=float('nan')),
    alpha_text=lambda d: d.update(alpha='1 %'),
    alpha_true=lambda d: d.update(alpha=True),
    n=lambda d: d.update(n=-1),
)


@pytest.mark.once
@pytest.mark.parametrize('how', FORGED)
def test_a_forged_gate_is_refused(gate, how):
    d = json.loads(json.dumps(gate.to_dict()))
    FORGED[how](d)
    with pytest.raises(DataError, match='This is no gate'):
        Gate.from_dict(d)


@pytest.mark.once
@pytest.mark.parametrize('content', [b'', b'[]', b'{"version": 1}', b'\xff', b'[' * 10**5])
def test_a_bundle_whose_gate_is_none_says_so(clf, content):
    files = {**clf.bundle.files, 'gate.json': content}
    with pytest.raises(ModelError, match='gate.json cannot be used'):
        classify._gate(SimpleNamespace(files=files, folder='bundle'))


# What can be an image


class Upload:
    "As Starlette and FastAPI give it: `read` is to be awaited, the file lies below."

    def __init__(self, data):
        self.file, self.filename = io.BytesIO(data), 'a.png'

    async def read(self, n=-1):
        raise AssertionError('nobody awaits this')


class Storage:
    "As werkzeug and Flask give it."

    def __init__(self, data):
        self.stream = io.BytesIO(data)

    def read(self, n=-1):
        return self.stream.read(n)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def spooled(data):
    f = tempfile.SpooledTemporaryFile()
    f.write(data)
    return f


def temporary(data):
    f = tempfile.NamedTemporaryFile()
    f.write(data)
    f.flush()
    return f


def at_its_end(data):
    f = io.BytesIO(data)
    f.seek(0, 2)
    return f


@pytest.mark.once
@pytest.mark.parametrize(
    'wrap',
    [
        io.BytesIO,
        at_its_end,
        Upload,
        Storage,
        spooled,
        temporary,
        bytearray,
        memoryview,
        lambda data: Image.open(io.BytesIO(data)),
        lambda data: np.asarray(Image.open(io.BytesIO(data)).convert('RGB')),
    ],
)
def test_whatever_holds_an_image_is_taken(clf, run, wrap):
    data = Path(run.table.path[0]).read_bytes()
    want = clf(run.table.path[0])
    source = wrap(data)
    for p in (clf(source), clf(source), *clf.many([source, source])):
        assert not p.error and p.label == want.label
        assert np.allclose(
            list(p.probabilities.values()), list(want.probabilities.values()), atol=1e-5
        )
    with open(run.table.path[0], 'rb') as f:
        assert clf(f).label == want.label


@pytest.mark.once
def test_grey_arrays_are_taken(clf):
    a = np.random.default_rng(0).integers(0, 256, (40, 50), dtype='uint8')
    assert clf(a).probabilities == clf(Image.fromarray(a)).probabilities


class Endless:
    def read(self, n=-1):
        return b'x' * min(n if n > 0 else 2**20, 2**20)


class Stubborn:
    def read(self, n=-1):
        raise RuntimeError('no')


class Awaited:
    async def read(self, n=-1):
        return b''


def open_pipe():
    "Nobody will ever write into it, nor close it."
    a, b = os.pipe()
    KEPT_OPEN.append(b)
    return os.fdopen(a, 'rb')


def open_socket():
    a, b = socket.socketpair()
    KEPT_OPEN.append(b)
    return a.makefile('rb')


def closed():
    f = io.BytesIO(b'x')
    f.close()
    return f


KEPT_OPEN = []
NO_IMAGES = dict(
    none=lambda: None,
    number=lambda: 0,
    decimal=lambda: 1.5,
    object=object,
    list=lambda: ['a.png'],
    a_class=lambda: io.BytesIO,
    empty_bytes=lambda: b'',
    nul_in_name=lambda: 'a\0.png',
    no_name=lambda: '',
    decimals=lambda: np.zeros((9, 9, 3)),
    channels_first=lambda: np.zeros((3, 9, 9), 'uint8'),
    four_channels=lambda: np.zeros((9, 9, 4), 'uint8'),
    no_pixels=lambda: np.zeros((0, 9, 3), 'uint8'),
    no_pixels_in_pillow=lambda: Image.new('RGB', (0, 9)),
    number_array=lambda: np.uint8(3),
    text_stream=lambda: io.StringIO('x'),
    endless=Endless,
    stubborn=Stubborn,
    awaited=Awaited,
    pipe=open_pipe,
    socket=open_socket,
    closed=closed,
)


@posix
@pytest.mark.once
@pytest.mark.parametrize('kind', NO_IMAGES)
def test_what_is_no_image_is_an_error_of_its_own(clf, run, monkeypatch, kind):
    monkeypatch.setattr(images, 'MOST_STREAM', 2**22)
    with soon():
        good, bad, after = clf.many([run.table.path[0], NO_IMAGES[kind](), run.table.path[1]])
        alone = clf(NO_IMAGES[kind]())
    assert good.label and after.label and not good.error and not after.error
    assert bad.error and alone.error and 'Traceback' not in bad.error and not bad.label
    assert "object has no attribute" not in bad.error and 'expected' not in bad.error
    with pytest.raises(DataError):
        clf.heat(NO_IMAGES[kind]())


@pytest.mark.once
@pytest.mark.parametrize(
    'one',
    [lambda p: p, Path, lambda p: Path(p).read_bytes(), lambda p: None, lambda p: open(p, 'rb')],
)
def test_one_image_where_several_are_meant_is_a_sentence(clf, run, one):
    with pytest.raises(DataError, match='Several images are meant'):
        clf.many(one(run.table.path[0]))


@pytest.mark.once
@pytest.mark.parametrize('names', [None, [], ['a'], ['a', 'b', 'c', 'd']])
def test_names_that_are_missing_lose_no_image(clf, run, names):
    got = clf.many(run.table.path[:3].tolist(), names)
    assert len(got) == 3 and [p.name for p in got][: len(names or ())] == (names or [])[:3]


# The picture that goes with an answer


@pytest.mark.once
@pytest.mark.parametrize('size', [(48, 48), (900, 700), (3000, 20)])
def test_an_image_is_decoded_once(clf, tmp_path, monkeypatch, size):
    path = tmp_path / 'a.png'
    Image.new('RGB', size, (200, 120, 180)).save(path)
    decoded, real = [], classify.open_cell

    def counting(*a):
        decoded.append(a[0])
        return real(*a)

    monkeypatch.setattr(classify, 'open_cell', counting)
    p = clf(path)
    path.unlink()
    assert '<img' in p._repr_html_() and decoded == [path]
    shown = Image.open(io.BytesIO(p.picture))
    assert shown.format == 'JPEG' and max(shown.size) <= 200 and max(p.small.size) <= 200
    assert clf.many([Image.new('RGB', size)] * 2)[0].picture == b''


def test_the_seed_says_what_else_a_result_depends_on():
    assert 'number of threads' in core.set_seed.__doc__.replace('\n', ' ')


POSTSCRIPT = (
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n'
    b'(made) (w) file closefile\nshowpage\n%%EOF\n'
)


@pytest.mark.parametrize('name', ['cell.png', 'cell.jpg', 'cell.tif'])
def test_postscript_is_no_image(tmp_path, name, monkeypatch):
    "Pillow reads PostScript by starting Ghostscript; a file that is called an image does not."
    from PIL import EpsImagePlugin

    def started(*words, **kwargs):
        raise AssertionError(f'started {words}')

    monkeypatch.setattr(subprocess, 'check_call', started)
    monkeypatch.setattr(subprocess, 'Popen', started)
    monkeypatch.setattr(EpsImagePlugin, 'has_ghostscript', lambda: True)
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match='not an image'):
        images.open_cell(path)
    (row,) = look([path], progress=False).facts.itertuples()
    assert 'not an image' in row.error
