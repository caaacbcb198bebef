"Starting the server where a notebook runs."

import asyncio
import sys
import urllib.error
import urllib.request
from types import ModuleType, SimpleNamespace

import pytest
from fake_model import Fake, blob, plain

from leukocls.core.errors import LeukoError
from leukocls.web import server as module
from leukocls.web.server import results_html, serve, show, upload_box, where_are_we


def test_serve_in_a_notebook_says_what_to_call(small_bundle):
    async def cell():
        serve([small_bundle], port=0)

    with pytest.raises(LeukoError, match=r'show\(…\).*run=False'):
        asyncio.run(cell())


def test_a_server_aside_can_be_started_in_a_notebook(small_bundle):
    async def cell():
        server = serve([small_bundle], port=0, run=False, say=lambda line: None).start()
        server.stop()
        return server.server.started

    assert asyncio.run(cell())


@pytest.fixture
def notebook(monkeypatch):
    "Makes this process look like a notebook of a service: its shell, and the variables that it sets."

    def make(service):
        for name in ('KAGGLE_KERNEL_RUN_TYPE', 'JUPYTERHUB_SERVICE_PREFIX'):
            monkeypatch.delenv(name, raising=False)
        shell = type(
            'Shell',
            (),
            {'__module__': f'{"google.colab" if service == "colab" else "ipykernel"}.x'},
        )
        ipython = SimpleNamespace(get_ipython=shell if service else lambda: None)
        monkeypatch.setitem(sys.modules, 'IPython', ipython)
        if service == 'kaggle':
            monkeypatch.setenv('KAGGLE_KERNEL_RUN_TYPE', 'Interactive')
        if service == 'hub':
            monkeypatch.setenv('JUPYTERHUB_SERVICE_PREFIX', '/user/jane/')

    yield make
    if 'server' in module._running:
        module._running.pop('server').stop()


@pytest.mark.parametrize('service', ['', 'jupyter', 'colab', 'hub', 'kaggle'])
def test_it_knows_where_it_runs(notebook, service):
    notebook(service)
    assert where_are_we() == service


def shown_in(notebook, service, monkeypatch, **how):
    "What `show` gives there; frames and HTML are what they were made of."
    notebook(service)
    display = ModuleType('IPython.display')
    display.IFrame = lambda url, width, height: SimpleNamespace(url=url, height=height)
    display.HTML = lambda text: SimpleNamespace(text=text)
    display.display, display.clear_output = print, print
    monkeypatch.setitem(sys.modules, 'IPython.display', display)
    return show([Fake()], **how)


def test_jupyter_shows_the_page_in_a_frame_and_one_server_a_notebook(notebook, monkeypatch):
    first = shown_in(notebook, 'jupyter', monkeypatch, height=500)
    assert first.height == 500
    with urllib.request.urlopen(first.url, timeout=10) as page:
        assert page.status == 200
        assert 'http://localhost:*' in page.headers['Content-Security-Policy']
    started = module._running['server']
    second = shown_in(notebook, 'jupyter', monkeypatch)
    assert module._running['server'] is not started and second.url
    with pytest.raises(OSError):
        urllib.request.urlopen(first.url, timeout=10)


def test_a_hub_needs_a_token_and_goes_through_its_proxy(notebook, monkeypatch):
    frame = shown_in(notebook, 'hub', monkeypatch)
    port = module._running['server'].port
    assert (
        frame.url.startswith(f'/user/jane/proxy/{port}/login#')
        and len(frame.url.split('#')[1]) > 20
    )
    # without the token, nobody else on the hub's machine gets an answer
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f'http://127.0.0.1:{port}/api/models', timeout=10)
    assert refused.value.code in (401, 403)


def test_colab_shows_the_port_by_its_own_way(notebook, monkeypatch):
    asked = []
    output = ModuleType('google.colab.output')
    output.serve_kernel_port_as_iframe = lambda port, height: asked.append((port, height))
    for name in ('google', 'google.colab'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, 'google.colab.output', output)
    assert shown_in(notebook, 'colab', monkeypatch, height=640) is None
    assert asked == [(module._running['server'].port, '640')]


def test_outside_of_a_notebook_it_is_a_server(notebook, monkeypatch):
    server = shown_in(notebook, '', monkeypatch)
    with urllib.request.urlopen(server.url, timeout=10) as page:
        assert page.status == 200 and b'<!doctype html>' in page.read(200).lower()


def test_kaggle_has_no_way_to_a_server_so_a_table_is_shown(notebook, monkeypatch, tmp_path):
    paths = []
    for name, colour in (('sure.png', (0, 0, 255)), ('foreign.png', (255, 0, 0))):
        plain(*colour).save(tmp_path / name)
        paths.append(tmp_path / name)
    html = shown_in(notebook, 'kaggle', monkeypatch, images=paths).text
    assert 'sure.png' in html and 'foreign.png' in html and 'Pro' in html
    assert 'Unlike the pictures that this model learned from' in html
    assert 'server' not in module._running
    # without pictures, a button is asked for; without ipywidgets it is said what to do instead
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    assert 'show(run, images=' in shown_in(notebook, 'kaggle', monkeypatch).text


def test_a_table_of_answers_has_no_markup_of_a_strangers():
    files = [
        ('<img src=x onerror=alert(1)>.png', blob(plain(0, 0, 255))),
        ('green.png', blob(plain(0, 255, 0))),
        ('no picture.png', b'<script>alert(1)</script>'),
    ]
    html = results_html(Fake('<b>model</b>'), files)
    assert '<script>alert' not in html and '<img src=x' not in html and '<b>model' not in html
    assert '&lt;img src=x onerror=alert(1)&gt;.png' in html
    assert 'Not sure – an expert should look' in html and html.count('data:image/') == 2


@pytest.mark.parametrize('widgets', [7, 8])
def test_a_button_shows_what_was_chosen_with_either_ipywidgets(monkeypatch, widgets):
    shown, seen = [], {}
    picture = blob(plain(0, 0, 255))
    value = (
        {'a.png': {'content': picture}} if widgets == 7 else (dict(name='a.png', content=picture),)
    )

    class Output:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

    class FileUpload:
        def __init__(self, **how):
            assert how['multiple']

        def observe(self, look, names):
            seen['look'] = look

    w = ModuleType('ipywidgets')
    w.FileUpload, w.Output, w.VBox = FileUpload, Output, list
    display = ModuleType('IPython.display')
    display.HTML, display.display = lambda text: text, shown.append
    display.clear_output = lambda: shown.clear()
    monkeypatch.setitem(sys.modules, 'ipywidgets', w)
    monkeypatch.setitem(sys.modules, 'IPython.display', display)
    assert len(upload_box(Fake())) == 2
    seen['look'](dict(new=()))
    assert not shown
    seen['look'](dict(new=value))
    assert 'a.png' in shown[0] and 'Pro' in shown[0]
