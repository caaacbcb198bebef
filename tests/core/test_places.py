"""What cannot be written, or is not here, is said before any image is read; paths as people write
them.
"""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from leukocls.core.errors import DataError, LeukoError, RunError
from leukocls.core.files import given_path, read_regular, write_whole


@pytest.fixture
def nothing_is_read(monkeypatch):
    import leukocls.runs.experiment as experiment

    def read(*args, **kwargs):
        raise AssertionError('images were read')

    monkeypatch.setattr(experiment, 'read_table', read)


def closed(monkeypatch, folder):
    "As on a read-only share: nothing can be written into the folder."
    real = os.access
    inside = str(folder)
    monkeypatch.setattr(
        os, 'access', lambda path, *a: not str(path).startswith(inside) and real(path, *a)
    )


def test_train_all_tries_its_folder_first(tmp_path, monkeypatch, nothing_is_read):
    from leukocls.runs.experiment import train_all

    closed(monkeypatch, tmp_path)
    with pytest.raises(RunError, match='Cannot write into .*out="FOLDER"') as e:
        train_all('cells', out=tmp_path / 'runs')
    assert e.value.where == tmp_path / 'runs' and '--out FOLDER' in e.value.in_shell()


@pytest.mark.parametrize('recipe', ['probe', 'p3-knn', 'small-cnn'])
def test_a_device_that_is_not_here(recipe, nothing_is_read, tmp_path):
    "A probe took no heed of it, and said nothing."
    import torch

    from leukocls.runs.experiment import train_all

    device = 'mps' if torch.cuda.is_available() else 'cuda'
    with pytest.raises(LeukoError, match='not available here'):
        train_all('cells', recipe, out=tmp_path, device=device)


def test_a_file_that_cannot_be_written_names_no_option(tmp_path, monkeypatch):
    "Commands without --out gave the advice to use it."
    (tmp_path / 'file').touch()
    with pytest.raises(RunError) as e:
        write_whole(tmp_path / 'file' / 'a.json', 'x')
    assert '--out' not in str(e.value) + e.value.in_shell() and 'another folder' in str(e.value)


def test_a_run_that_is_read_only(run, tmp_path, monkeypatch):
    "Exported by default into the run's folder: an error of the system, deep inside."
    from leukocls.deploy.bundle import export_bundle

    copy = shutil.copytree(run.folder, tmp_path / 'run', ignore=shutil.ignore_patterns('bundle'))
    closed(monkeypatch, copy)
    with pytest.raises(RunError, match='Cannot write into .*choose another folder|Choose another'):
        export_bundle(copy)


def test_show_a_run_that_is_read_only(tmp_path, monkeypatch):
    "A notebook of Kaggle's sees runs of others in a folder that it cannot write."
    from leukocls.web import server

    folder = tmp_path / 'run'
    folder.mkdir()
    closed(monkeypatch, folder)

    class Exported:
        def __init__(self, out):
            self.folder = out or folder / 'bundle'

    class ReadOnly:
        export_bundle = staticmethod(Exported)

    ReadOnly.folder = folder
    monkeypatch.setattr(server, 'load_bundles', list)
    (place,) = server._classifiers(ReadOnly())
    assert folder not in place.parents and place.name == 'bundle'


def test_home_in_paths(tmp_path, monkeypatch):
    "A shell turns ~ into the home folder; Python does not."
    from leukocls.data.images import image_files
    from leukocls.data.table import read_table
    from leukocls.runs.run import Run

    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    assert given_path('~/cells') == str(tmp_path / 'cells') and given_path(b'cells') == 'cells'
    for label in 'ab':
        for n in range(2):
            write_whole(f'~/cells/{label}/{n}.png', b'x')
    assert read_regular('~/cells/a/0.png') == b'x'
    table = read_table('~/cells')
    assert len(table) == 4 and table.path.str.startswith(str(tmp_path)).all()
    assert len(read_table(os.fsencode(tmp_path / 'cells'))) == 4
    relative = pd.DataFrame(
        dict(path=['a/0.png', 'a/1.png', 'b/0.png', 'b/1.png'], label=list('aabb'))
    )
    assert read_table(relative, root='~/cells').path.tolist() == table.path.tolist()
    assert image_files('~/cells') == table.path.tolist()
    assert image_files('~/cells/a/0.png') == [table.path[0]]
    write_whole('~/runs/mine/recipe.json', '{}')
    assert Run('~/runs/mine').folder == tmp_path / 'runs' / 'mine'


def test_a_list_is_no_data_set(tmp_path):
    from leukocls.runs.experiment import train_all

    for data in (['a.png', 'b.png'], 3, None):
        with pytest.raises(DataError, match='is no data set. Give a folder of class folders'):
            train_all(data, out=tmp_path / 'runs')
    with pytest.raises(DataError, match='nowhere does not exist'):
        train_all(b'nowhere', out=tmp_path / 'runs')


def test_nothing_is_said_where_home_cannot_be_written(tmp_path):
    "Matplotlib wrote of its cache, and ONNX Runtime of its telemetry, to standard error."
    (tmp_path / 'm.csv').write_text('name,label,sha256\na.png,Pro,x\nb.png,Pre,y\n', 'utf8')
    (tmp_path / 'file').touch()
    code = """
import sys
from leukocls.cli.commands import main
from leukocls.core.packages import need
try:
    main(['audit', sys.argv[1]])
except SystemExit as e:
    assert not e.code
need('onnxruntime', 'serve')
import leukocls.core.figures
"""
    home = {'HOME': str(tmp_path / 'file' / 'home'), 'LEUKOCLS_CACHE': 'off'}
    removed = ('MPLCONFIGDIR', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'ORT_DISABLE_TELEMETRY')
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'm.csv')],
        capture_output=True,
        encoding='utf8',
        env=kept | home,
    )
    assert done.returncode == 0, done.stderr
    assert 'telemetry' not in done.stderr and 'Matplotlib' not in done.stderr, done.stderr
