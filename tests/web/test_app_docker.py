"""What is deployed, in an environment of its own: `leukocls[serve]` without torch and fastai; the
Dockerfile without an engine: its steps run there as a script, its command serves a bundle.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = 'sixteen-letters-or-more'


def steps():
    "(word, rest) of each instruction."
    text = re.sub(
        r'\\\n',
        ' ',
        '\n'.join(
            line
            for line in (ROOT / 'Dockerfile').read_text().splitlines()
            if not line.startswith('#')
        ),
    )
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_what_it_promises():
    found = steps()
    order = [k for k, _ in found]
    said = dict(found)
    assert (
        said['FROM'].endswith('-slim')
        and said['USER'].isdigit()
        and int(said['USER']) > 0
        and order.index('USER') < order.index('ENTRYPOINT')
        and not any(k == 'ADD' for k in order)
        and 'LEUKOCLS_TOKEN' not in said['ENV']
    )
    assert (
        json.loads(said['CMD'])
        and json.loads(said['ENTRYPOINT']) == ['leukocls', 'serve']
        and 'healthz' in said['HEALTHCHECK']
        and '0.0.0.0' in said['CMD']
    )
    kept = [
        line[1:] for line in (ROOT / '.dockerignore').read_text().split() if line.startswith('!')
    ]
    assert all((ROOT / k).exists() for k in kept) and (
        ROOT / '.dockerignore'
    ).read_text().startswith('*\n')


@pytest.fixture(scope='module')
def laboratory(tmp_path_factory):
    "pip install leukocls[serve] in a new environment, as a laboratory does."
    venv = tmp_path_factory.mktemp('laboratory') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
    done = subprocess.run(
        [
            venv / 'bin/python',
            '-m',
            'pip',
            'install',
            '-q',
            '--disable-pip-version-check',
            f'{ROOT}[serve]',
        ],
        capture_output=True,
        text=True,
        env=os.environ | {'PIP_COMPILE': '0'},
    )
    assert done.returncode == 0, done.stderr  # most of what is installed is never imported
    return venv


@pytest.mark.slow
def test_environment_without_torch_and_fastai(laboratory, small_bundle, run, tmp_path):
    there = {
        d.split('-')[0].lower()
        for d in os.listdir(next((laboratory / 'lib').glob('python*/site-packages')))
        if d.endswith('.dist-info')
    }
    assert not there & {'torch', 'torchvision', 'fastai', 'timm'} and 'onnxruntime' in there
    done = subprocess.run(
        [laboratory / 'bin/leukocls', 'predict', small_bundle, run.table.path[0]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and '%' in done.stdout, done.stderr
    from leukocls.deploy.classifier import Classifier

    assert Classifier.load(small_bundle)(run.table.path[0]).label in done.stdout


@pytest.mark.slow
def test_its_steps_run_as_a_script(laboratory, small_bundle, tmp_path):
    bundle, work, venv = small_bundle, tmp_path / 'src', laboratory
    work.mkdir()
    subprocess.run(
        [venv / 'bin/python', '-m', 'pip', 'uninstall', '-qy', 'leukocls'], check=True
    )  # what runs is what the steps install
    for line in (ROOT / '.dockerignore').read_text().split():  # COPY . .
        if line.startswith('!'):
            (shutil.copytree if (ROOT / line[1:]).is_dir() else shutil.copy)(
                ROOT / line[1:], work / line[1:]
            )
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'LEUKOCLS', 'VIRTUAL'))
    } | dict(PATH=f'{venv}/bin:{os.environ["PATH"]}', LEUKOCLS_TOKEN=TOKEN, PIP_COMPILE='0')
    port = 18_000 + os.getpid() % 10_000
    command = []
    for word, rest in steps():
        if word == 'ENV':
            env |= dict(pair.split('=', 1) for pair in rest.split())
        if word == 'RUN' and not rest.startswith('useradd'):
            done = subprocess.run(
                rest, shell=True, cwd=work, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        if word in ('ENTRYPOINT', 'CMD'):
            command += [
                str(bundle) if o == '/bundle' else str(port) if o == '8000' else o
                for o in json.loads(rest)
            ]
        if word == 'HEALTHCHECK':
            health = json.loads(re.search(r'CMD (\[.*\])', rest)[1].replace(':8000/', f':{port}/'))
    shutil.rmtree(work)  # what runs is what was installed
    assert (
        subprocess.run(
            [f'{venv}/bin/python', '-c', 'import torch'], env=env, capture_output=True, cwd=tmp_path
        ).returncode
        == 1
        and subprocess.run(
            [f'{venv}/bin/python', '-c', 'import fastai'],
            env=env,
            capture_output=True,
            cwd=tmp_path,
        ).returncode
        == 1
    ), 'nothing of training is installed'
    with (
        open(tmp_path / 'log', 'w') as log,
        subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log) as server,
    ):
        try:
            end = time.time() + 90

            def ask():
                return subprocess.run(
                    ['python', *health[1:]], env=env, capture_output=True
                ).returncode

            while ask():
                assert server.poll() is None and time.time() < end, (tmp_path / 'log').read_text()
                time.sleep(0.5)
            r = urllib.request.urlopen(
                urllib.request.Request(
                    f'http://127.0.0.1:{port}/api/models',
                    headers={'Authorization': f'Bearer {TOKEN}'},
                )
            )
            assert json.load(r)['models'][0]['classes']
            with pytest.raises(urllib.error.HTTPError, match='401'):
                urllib.request.urlopen(f'http://127.0.0.1:{port}/api/models')
            assert (
                b'static/app.js'
                in urllib.request.urlopen(
                    urllib.request.Request(
                        f'http://127.0.0.1:{port}/', headers={'Authorization': f'Bearer {TOKEN}'}
                    )
                ).read()
            ), 'the page is in the package'
        finally:
            server.terminate()
    assert server.wait(20) is not None and 'Traceback' not in (tmp_path / 'log').read_text()
    assert ask() != 0, 'a server that is gone is not healthy'
