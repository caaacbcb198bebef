"The examples of the guide *Deploy*, against a running server: curl, Node.js, a page in a browser."

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

pytest.importorskip('starlette')
pytest.importorskip('onnxruntime')
pytest.importorskip('websockets')  # noqa
from chrome import CHROMIUM, Chrome

from leukocls import Classifier, draw_films
from leukocls.web.application import make_app
from leukocls.web.guard import Token
from leukocls.web.server import Server

ROOT = Path(__file__).resolve().parents[2]
TOKEN = 'at-least-sixteen-letters'
ADDRESS = 'http://127.0.0.1:8000/'


def examples(language):
    "Code blocks of the guide in one language."
    cells = json.loads((ROOT / 'nbs/guides/deploy.ipynb').read_text(encoding='utf8'))['cells']
    text = '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    return re.findall(rf'^```{language}\n(.*?)^```', text, flags=re.M | re.S)


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cells')
    film = next(draw_films(folder / 'films', patients=1, images=1, size=64).rglob('*.png'))
    return film.rename(folder / 'cell.png')


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle')
    with zipfile.ZipFile(ROOT / 'tests/stored/bundle-0.1.0.zip') as stored:
        stored.extractall(folder)
    return Classifier.load(folder / 'bundle-0.1.0')


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which('curl'), reason='curl is not installed')
def test_curl(classifier, cell):
    (command,) = [c for c in examples('sh') if c.startswith('curl')]
    with Server(make_app([classifier])) as server:
        words = command.strip().replace(ADDRESS, server.url.rstrip('/') + '/').split()
        answer = json.loads(run(*words, '-s', cwd=cell.parent))
    assert answer['results'][0]['label'] == classifier(cell).label


@pytest.mark.skipif(not shutil.which('node'), reason='Node.js is not installed')
def test_node_with_a_token(classifier, cell):
    (script,) = [c for c in examples('js') if 'node:fs' in c]
    with Server(make_app([classifier], Token(TOKEN))) as server:
        address = re.match(r'https?://[^/]+/', server.url)[0]
        script = script.replace(ADDRESS, address).replace('YOUR-TOKEN', TOKEN)
        (cell.parent / 'ask.mjs').write_text(script)
        printed = run('node', 'ask.mjs', cwd=cell.parent)
    answer = classifier(cell)
    assert printed.strip() == (answer.why if answer.refer else answer.label)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason='Chromium is not installed')
def test_a_page_of_the_server(classifier, cell):
    (script,) = [c for c in examples('js') if 'node:fs' not in c]
    script = re.sub(r'console\.log\((.*)\);', r'return [\1];', script)
    with Server(make_app([classifier])) as server, Chrome() as browser:
        browser.open(server.url)
        browser.js(
            'document.body.append(Object.assign(document.createElement("input"),'
            ' {type: "file", id: "mine"}))'
        )
        browser.choose('#mine', [cell])
        (said,) = browser.js(
            f'(async () => {{const input = document.querySelector("#mine"); {script} }})()'
        )
    answer = classifier(cell)
    assert said == (answer.why if answer.refer else answer.label)
