"""`leukocls doctor`: what the machine has, in words that can be shown to others."""

import configparser
import getpass
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leukocls.cli.doctor import EXTRAS, _advice, _cache, doctor

ROOT = Path(__file__).parents[2]


def test_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'leukocls', 'doctor', '--json'],
        capture_output=True,
        encoding='utf8',
        cwd=ROOT,
    )
    facts = json.loads(done.stdout)
    assert facts['cores'] >= 1 and facts['versions']['python'] and facts['training']
    assert set(facts['lacking']) == set(EXTRAS) and isinstance(facts['advice'], list)


def test_it_names_nobody(tmp_path, monkeypatch):
    "No user, no host, no path beyond the home folder: it is pasted into issues."
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    for cache in ('', str(tmp_path / 'secret-place')):
        monkeypatch.setenv('LEUKOCLS_CACHE', cache)
        monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
        text = f'{doctor()} {json.dumps(doctor().facts)}'
        assert platform.node() not in text and str(tmp_path) not in text and 'secret' not in text
        assert not re.search(rf'\b{re.escape(getpass.getuser())}\b', text)
    monkeypatch.setenv('LEUKOCLS_CACHE', '')
    if sys.platform.startswith('linux'):
        assert _cache()['place'] == '~/.cache/leukocls'


def test_extras_are_those_of_the_project():
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT / 'settings.ini', encoding='utf8')
    for extra, packages in EXTRAS.items():
        wanted = settings['DEFAULT'][f'{extra}_requirements'].split()
        names = {re.split(r'[<>=]', word)[0] for word in wanted}
        assert set(packages) == names - ({'pillow'} if extra == 'serve' else set()), extra


@pytest.mark.parametrize(
    'change,words',
    [
        (dict(gpus=[]), 'No GPU'),
        (dict(threads='1', cores=4), 'OMP_NUM_THREADS=1'),
        (dict(memory_free_gb=1.0), 'Little memory'),
        (dict(disk_free_gb=0.5), 'Little space'),
        (dict(cache=dict(place=None, gigabytes=0)), 'Nothing is cached'),
        (dict(lacking=dict(serve=['openvino'])), 'openvino: pip install "leukocls[serve]"'),
    ],
)
def test_advice(change, words):
    fine = dict(gpus=['x'], threads=None, cores=4, memory_free_gb=9.0, disk_free_gb=99.0)
    fine |= dict(cache=dict(place='~', gigabytes=0), lacking={})
    assert _advice(fine) == []
    (sentence,) = _advice(fine | change)
    assert words in sentence
