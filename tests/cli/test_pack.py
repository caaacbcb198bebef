"`leukocls pack`: what it writes, and what it says where something is missing. No network is used."

import zipfile

import pytest
from typer.testing import CliRunner

from leukocls.cli import app
from leukocls.core import RunError

REQUIREMENTS = 'numpy fastcore'


def write_wheel(folder, name, version='99.0', needs=()):
    info = f'{name}-{version}.dist-info'
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    lines += [f'Requires-Dist: {need}' for need in needs]
    path = folder / f'{name}-{version}-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as wheel:
        wheel.writestr(f'{info}/METADATA', '\n'.join(lines) + '\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    "The only place where pip may look."
    folder = tmp_path / 'index'
    folder.mkdir()
    for name in REQUIREMENTS.split():
        write_wheel(folder, name)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder))
    return folder


@pytest.fixture
def source(index):
    return str(write_wheel(index, 'leukocls', '0.1.0', REQUIREMENTS.split()))


def weights_folder(path):
    path.mkdir(parents=True)
    (path / 'config.json').write_text('{}')
    (path / 'model.safetensors').write_bytes(b'1')
    return path


def test_wheels_weights_and_two_lines(tmp_path, source):
    from leukocls.cli.pack import pack

    weights = [weights_folder(tmp_path / f'w/{name}') for name in ('a', 'b')]
    folder = pack(tmp_path / 'My data set', weights=weights, source=source)
    names = {path.name.split('-')[0] for path in (folder / 'wheels').iterdir()}
    assert names == {'leukocls', *REQUIREMENTS.split()}
    assert {p.name for p in (folder / 'weights').iterdir()} == {'a', 'b'}
    text = (folder / 'README.txt').read_text(encoding='utf8')
    assert '--find-links /kaggle/input/my-data-set/wheels leukocls\n' in text
    assert 'weights="/kaggle/input/my-data-set/weights"' in text


@pytest.mark.parametrize('python, platform', [('3.11', None), (None, 'win_amd64')])
def test_another_machine(tmp_path, source, python, platform):
    "pip is asked for wheels of that machine only."
    from leukocls.cli.pack import pack

    folder = pack(tmp_path / 'out', python=python, platform=platform, source=source)
    assert len(list((folder / 'wheels').iterdir())) == 3


def test_without_a_network_a_sentence_and_nothing_left(tmp_path, index, source):
    from leukocls.cli.pack import pack

    (index / 'numpy-99.0-py3-none-any.whl').unlink()
    with pytest.raises(RunError, match='Run this on a machine with the network') as error:
        pack(tmp_path / 'out', source=source)
    assert 'numpy' in str(error.value) and '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_the_command(tmp_path, monkeypatch, source):
    from leukocls.cli import pack as module

    monkeypatch.setattr(module, '_source', lambda: source)
    out = tmp_path / 'out'
    done = CliRunner().invoke(app, ['pack', str(out)])
    assert done.exit_code == 0 and '4 files' in done.output, done.output
    assert (out / 'README.txt').is_file()


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(extras=['gpu']), 'No extra is named gpu. Use some of: train'),
        (dict(weights=['here']), 'has no config.json'),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, source, change, words):
    from leukocls.cli.pack import pack

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'here').mkdir()
    with pytest.raises(RunError, match=words):
        pack('out', source=source, **change)
    assert not (tmp_path / 'out').exists()


def test_what_pip_says_is_one_sentence(monkeypatch):
    import subprocess
    from types import SimpleNamespace

    from leukocls.cli import pack

    def failing(error):
        done = SimpleNamespace(returncode=1, stderr=error)
        monkeypatch.setattr(subprocess, 'run', lambda *a, **k: done)
        with pytest.raises(RunError) as said:
            pack._run_pip('download', 'x')
        return str(said.value)

    assert 'python -m ensurepip' in failing('/usr/bin/python: No module named pip')
    lost = failing('WARNING: Retrying\nERROR: No matching distribution found for x==9\n')
    assert lost.startswith('pip cannot fetch a package: No matching distribution found for x==9.')
    assert 'Run this on a machine with the network' in lost
    assert failing('ERROR: Cannot build x.\n') == 'pip failed: Cannot build x.'
    assert failing('') == 'pip failed: no reason given.'


def test_pip_is_asked_for_every_older_platform_that_runs_there():
    from leukocls.cli.pack import _platforms

    names = _platforms('manylinux_2_28_aarch64')
    assert names[0] == 'manylinux_2_28_aarch64' and names[-1] == 'manylinux2014_aarch64'
    assert 'manylinux_2_17_aarch64' in names and len(names) == 13
    assert _platforms('win_amd64') == ['win_amd64']


def test_where_leukocls_came_from(monkeypatch, tmp_path):
    import importlib.metadata
    import json
    from pathlib import Path
    from types import SimpleNamespace

    from leukocls.cli import pack

    # in a checkout it is the checkout
    assert (Path(pack._source()) / 'settings.ini').is_file()
    monkeypatch.setattr(pack, '__file__', str(tmp_path / 'site-packages/leukocls/cli/pack.py'))
    written = {}
    installed = SimpleNamespace(version='1.2.3', read_text=written.get)
    monkeypatch.setattr(importlib.metadata, 'distribution', lambda name: installed)
    assert pack._source() == 'leukocls==1.2.3'
    wheel = tmp_path / 'a wheel.whl'
    wheel.touch()
    written['direct_url.json'] = json.dumps(dict(url=wheel.as_uri()))
    assert pack._source() == str(wheel)
    wheel.unlink()
    assert pack._source() == 'leukocls==1.2.3'
