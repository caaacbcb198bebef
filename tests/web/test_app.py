"""The web page and its interface, asked over a real connection; the model is a fake, so that only
the application is tested.
"""

import asyncio
import http.client
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_model import CLASSES, Fake, blob, plain
from PIL import Image
from shell import leukocls

from leukocls.core.errors import LeukoError
from leukocls.web.application import make_app
from leukocls.web.guard import Token
from leukocls.web.queue import Job, Worker
from leukocls.web.server import Server, serve
from leukocls.web.upload import Limits

httpx, _ = pytest.importorskip('httpx'), pytest.importorskip('starlette')

SECRET = 'a-token-of-some-length'
CELL = blob(plain(60, 60, 240))


def images(*blobs):
    return [('images', (f'{i}.png', b, 'image/png')) for i, b in enumerate(blobs)]


@pytest.fixture(scope='module')
def lines():
    return []


@pytest.fixture(scope='module')
def model():
    return Fake('A model & more', examples=3)


@pytest.fixture(scope='module')
def server(model, lines):
    with Server(
        make_app([model, Fake('second', calibrated=False, gate=False)], log=lines.append)
    ) as s:
        yield s


@pytest.fixture(scope='module')
def client(server):
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as c:
        yield c


@pytest.fixture(scope='module')
def locked():
    with Server(make_app([Fake()], Token(SECRET))) as s:
        yield s


# What comes back


def test_page_and_its_files(client):
    page = client.get('/', headers={'accept': 'text/html'})
    assert (
        page.status_code == 200
        and 'Research use only' in page.text
        and page.headers['content-type'].startswith('text/html')
    )
    names = re.findall(r'(?:src|href|data-texts)="(?!#|api)([^"]+)"', page.text)
    assert len(names) >= 4
    sizes = [len(page.content)] + [
        len(client.get(f'/{n}').raise_for_status().content) for n in names
    ]
    assert sum(sizes) < 200_000
    everything = page.text + ''.join(client.get(f'/{n}').text for n in names)
    assert not re.search(
        r'(?:https?:)?//(?!www\.w3\.org|127\.0\.0\.1)[a-z0-9.-]+\.[a-z]{2,}',
        re.sub(r'//[^\n]*', '', everything),
    ), 'the page asks for something elsewhere'
    assert (
        not re.search(r'<script>|<style|\son\w+=|style="', page.text)
        and 'innerHTML' not in everything
        and 'eval(' not in everything
    )


def test_every_text_is_used_and_there(root):
    static = root / 'leukocls' / 'static'
    texts = json.loads((static / 'texts.en.json').read_text())
    script = (static / 'app.js').read_text()
    templates = root / 'leukocls' / 'web' / 'templates'
    pages = (templates / 'page.html').read_text() + (templates / 'login.html').read_text()
    python = (root / 'leukocls' / 'web' / 'application.py').read_text()
    asked = set(re.findall(r'\bT\.(\w+)', script)) | {
        w for w in re.findall(r'\{\{(\w+)\}\}', pages) if w not in ('version', 'wrong')
    }
    assert asked <= set(texts), asked - set(texts)
    unused = [
        k
        for k in texts
        if k not in asked and not k.startswith('verdict_') and k not in python and k != 'lang'
    ]
    assert not unused, unused


def test_models(client):
    m = client.get('/api/models').json()
    assert [o['id'] for o in m['models']] == ['a-model-more', 'second']
    first, second = m['models']
    assert (
        first['accuracy'] == dict(value=0.9631, low=0.9412, high=0.9777)
        and first['n'] == 651
        and first['data'] == 'Synthetic films'
        and first['nearest']
        and first['calibrated']
        and first['gate']
        and not second['nearest']
        and not second['calibrated']
        and not second['gate']
    )
    assert m['limits']['pixels'] == 50_000_000 and 'Not a medical device' in m['research_only']


def test_one_answer_for_one_person(client):
    "All pictures in one request; what cannot be used is named, and too few cells give no answer."
    foreign, broken = blob(plain(230, 40, 40)), b'no picture'
    r = client.post('/api/patient', files=images(*[CELL] * 70, foreign, broken))
    assert r.status_code == 200
    said = r.json()
    person = said['patient']
    assert person['label'] == 'Pro' and person['certain'] and person['reason'] == ''
    assert person['cells'] == 70 and [x['name'] for x in person['refused']][1:] == ['71.png']
    assert sum(row['count'] for row in person['differential']) == 70
    assert len(said['results']) == 72 and said['results'][71]['error']
    few = client.post('/api/patient', files=images(CELL)).json()['patient']
    assert not few['certain'] and 'too few cells' in few['reason']
    none = client.post('/api/patient', files=images(broken)).json()['patient']
    assert (none['label'], none['probability'], none['differential']) == ('', None, [])


def test_predict_keeps_order_and_fields(client):
    blobs = [
        CELL,
        b'',
        blob(plain(40, 230, 40), 'JPEG'),
        b'\x80\x04pickle',
        blob(plain(230, 40, 40), 'WEBP'),
        blob(plain(250, 250, 40), 'TIFF'),
        blob(plain(1, 1, 1), 'BMP'),
    ]
    r = client.post('/api/predict', files=images(*blobs))
    assert r.status_code == 200
    said = r.json()
    results = said['results']
    assert said['model'] == 'a-model-more' and [x['name'] for x in results] == [
        f'{i}.png' for i in range(7)
    ]
    assert (
        [bool(x['error']) for x in results] == [False, True, False, True, False, False, False]
        and results[1]['error'] == 'zero bytes'
        and 'not an image' in results[3]['error']
    )
    assert all(
        set(x)
        == {
            'name',
            'label',
            'probabilities',
            'classes',
            'refer',
            'why',
            'in_domain',
            'warnings',
            'error',
        }
        for x in results
    ), 'nothing else of a Prediction is sent'
    assert (
        results[2]['refer']
        and results[2]['classes'] == ['Pre', 'Pro']
        and results[4]['in_domain'] is False
        and results[5]['warnings']
        and results[0]['probabilities']['Pro'] == 0.972
    )


def test_many_images_few_in_memory(client, model):
    before = model.seen
    r = client.post('/api/predict', files=images(*[CELL] * 20), data={'model': 'a-model-more'})
    assert len(r.json()['results']) == 20 and model.seen == before + 20


@pytest.mark.parametrize(
    'name, shown',
    [
        ('../../etc/passwd', 'passwd'),
        ('C:\\x\\cell.png', 'cell.png'),
        ('<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>'),
        ('a' * 500 + '.png', 'a' * 120),
        ('zelle-ä-細胞.png', 'zelle-ä-細胞.png'),
        ('x\u202egnp.exe', 'xgnp.exe'),
    ],
)
def test_names_come_back_as_text(client, name, shown):
    assert (
        client.post('/api/predict', files=[('images', (name, CELL))]).json()['results'][0]['name']
        == shown
    )


def test_metadata_is_dropped_and_turned_as_a_person_sees(client, model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        model, 'many', lambda ims, names=None: seen.extend(ims) or [model(im) for im in ims]
    )
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8825] = 6, 'Jane Doe', {1: 'N', 2: (52.0, 31.0, 12.0)}
    client.post(
        '/api/predict',
        files=images(
            blob(plain(60, 60, 240), 'JPEG', exif=exif, comment=b'Jane Doe'),
            blob(plain(60, 60, 240), 'PNG', exif=exif),
        ),
    )
    assert [im.size for im in seen] == [(30, 40)] * 2 and all(
        not im.info and not dict(im.getexif()) for im in seen
    )


def test_animated_and_paged_say_so(client):
    two = [plain(60, 60, 240), plain(230, 40, 40)]
    for kind in ('PNG', 'WEBP', 'TIFF'):
        r = client.post(
            '/api/predict', files=images(blob(two[0], kind, save_all=True, append_images=two[1:]))
        ).json()['results'][0]
        assert r['label'] == 'Pro' and r['in_domain'] and 'Only the first' in r['warnings'][0]


def test_heat_and_nearest(client):
    r = client.post('/api/heat', files=images(CELL), data=dict(label='Early')).json()
    assert (
        r['label'] == 'Early'
        and len(r['values']) == len(r['values'][0]) == 64
        and 0 <= min(map(min, r['values'])) <= max(map(max, r['values'])) <= 1
    )
    assert client.post('/api/heat', files=images(CELL)).json()['label'] == 'Pro'
    near = client.post('/api/nearest', files=images(CELL)).json()['nearest']
    assert [n['label'] for n in near] == CLASSES[:3] and near[0]['similarity'] == 0.98
    import base64

    assert Image.open(io.BytesIO(base64.b64decode(near[0]['jpeg']))).size == (64, 64)
    assert (
        client.post('/api/nearest', files=images(CELL), data=dict(model='second')).json()['nearest']
        == []
    )


@pytest.mark.parametrize(
    'path, kwargs, status, said',
    [
        ('/api/predict', dict(json={}), 415, 'multipart'),
        ('/api/predict', dict(content=b''), 415, 'multipart'),
        (
            '/api/predict',
            dict(data=dict(model='x'), files=[('images', ('', b''))]),
            422,
            'with a file name',
        ),
        (
            '/api/predict',
            dict(files=images(CELL), data=dict(model='nope')),
            422,
            'Known: a-model-more, second',
        ),
        ('/api/predict', dict(files=[('pictures', ('a.png', CELL))]), 422, "'pictures'"),
        ('/api/heat', dict(files=images(CELL), data=dict(label='nope')), 422, 'Known: Benign'),
        ('/api/heat', dict(files=images(CELL, CELL)), 422, 'One image'),
        ('/api/heat', dict(files=images(b'x')), 422, 'cannot be read'),
        ('/api/nearest', dict(files=images(b'x')), 422, 'cannot be read'),
        ('/api/predict', dict(files=images(*[b'x'] * 65)), 413, 'More than 64'),
        ('/nothing', dict(content=b''), 404, 'nothing here'),
        ('/api/models', dict(content=b''), 405, 'method'),
    ],
)
def test_errors_are_json_for_programs_and_pages_for_people(client, path, kwargs, status, said):
    r = client.post(path, **kwargs)
    assert (
        r.status_code == status
        and said in r.json()['error']
        and list(r.json()) == ['error']
        and r.headers['content-type'] == 'application/json'
    )
    r = client.post(path, headers={'accept': 'text/html'}, **kwargs)
    assert (
        r.status_code == status
        and r.text.startswith('<!doctype html>')
        and 'Traceback' not in r.text
        and r.headers['content-security-policy']
    )


def test_methods(client):
    r = client.put('/api/predict')
    assert r.status_code == 405 and r.headers['allow'] == 'POST'
    assert (
        client.head('/').status_code == 200
        and client.head('/').content == b''
        and client.options('/api/models').status_code == 405
    )


def test_docs_for_programs_and_people(client):
    docs = client.get('/api/docs').json()
    assert (
        docs['openapi'] == '3.1.0'
        and {'/api/predict', '/api/heat', '/api/nearest', '/api/models', '/healthz'}
        <= set(docs['paths'])
        and docs['info']['version']
    )
    page = client.get('/api/docs', headers={'accept': 'text/html'}).text
    assert (
        'curl -F images=@cell.jpg' in page
        and all(p in page for p in docs['paths'])
        and 'href="../static/app.css"' in page
    )


def test_healthz(client):
    assert client.get('/healthz').json() == dict(status='ok', waiting=0)


# Who is let in


@pytest.mark.parametrize(
    'path', ['/', '/healthz', '/static/app.js', '/api/models', '/nothing', '/login', '/api/predict']
)
def test_security_headers_everywhere(client, path):
    for r in (
        client.get(path),
        client.get(path, headers={'host': 'evil.example'}),
        client.post(path, headers={'origin': 'https://evil.example'}),
    ):
        h = r.headers
        assert (
            "default-src 'none'" in h['content-security-policy']
            and "frame-ancestors 'none'" in h['content-security-policy']
            and 'unsafe' not in h['content-security-policy']
        )
        assert (
            h['x-content-type-options'] == 'nosniff'
            and h['referrer-policy'] == 'no-referrer'
            and h['cache-control'] == 'no-store'
            and 'camera=(self)' in h['permissions-policy']
            and 'server' not in h
            and 'access-control-allow-origin' not in h
        )


@pytest.mark.parametrize(
    'host, status',
    [
        ('127.0.0.1', 200),
        ('localhost:1', 200),
        ('[::1]:80', 200),
        ('evil.example', 421),
        ('127.0.0.1.evil.example', 421),
        ('10.1.2.3', 421),
        ('', 421),
    ],
)
def test_rebinding(client, host, status):
    assert client.get('/api/models', headers={'host': host}).status_code == status


@pytest.mark.parametrize(
    'headers, status',
    [
        ({}, 200),
        ({'origin': 'https://evil.example'}, 403),
        ({'origin': 'null'}, 403),
        ({'sec-fetch-site': 'cross-site'}, 403),
        ({'sec-fetch-site': 'same-site'}, 403),
        ({'sec-fetch-site': 'same-origin', 'origin': 'https://x-colab.googleusercontent.com'}, 200),
    ],
)
def test_other_sites_cannot_post(client, headers, status):
    assert client.post('/api/predict', files=images(CELL), headers=headers).status_code == status


def test_token(locked):
    with httpx.Client(base_url=locked.url, trust_env=False) as c:
        assert (
            c.get('/api/models').status_code == 401
            and c.get('/api/models').headers['www-authenticate'] == 'Bearer'
            and c.post('/api/predict', files=images(CELL)).status_code == 401
        )
        r = c.get('/', headers={'accept': 'text/html'})
        assert r.status_code == 303 and r.headers['location'] == 'login'
        assert (
            c.get('/healthz').status_code == 200
            and c.get('/static/app.css').status_code == 200
            and 'name="token"' in c.get('/login').text
        )
        for wrong in ('x', SECRET[:-1], SECRET + 'x', SECRET.upper()):
            assert (
                c.get('/api/models', headers={'authorization': f'Bearer {wrong}'}).status_code
                == 401
            )
        assert (
            c.get('/api/models', headers={'authorization': f'Bearer {SECRET}'}).status_code == 200
        )
        began = time.time()
        r = c.post('/login', data=dict(token='wrong'))
        assert (
            r.status_code == 401
            and 'not the token' in r.text
            and time.time() - began > 0.4
            and 'set-cookie' not in r.headers
        )
        assert (
            c.post(
                '/login', data=dict(token=SECRET), headers={'origin': 'https://evil.example'}
            ).status_code
            == 403
        )
        assert (
            c.post(
                '/login',
                content=b'token=' + b'x' * 9000,
                headers={'content-type': 'application/x-www-form-urlencoded'},
            ).status_code
            == 413
        )
        r = c.post('/login', data=dict(token=SECRET))
        assert (
            r.status_code == 303
            and r.headers['location'] == './'
            and 'HttpOnly; SameSite=Strict' in r.headers['set-cookie']
            and SECRET not in r.headers['set-cookie']
        )
        assert (
            c.get('/').status_code == 200
            and c.post('/api/predict', files=images(CELL)).status_code == 200
            and c.post(
                '/api/predict', files=images(CELL), headers={'sec-fetch-site': 'cross-site'}
            ).status_code
            == 403
        )
    assert (
        httpx.get(
            f'{locked.url}api/models', headers={'cookie': 'leukocls=99999999999.0'}, trust_env=False
        ).status_code
        == 401
    )


@pytest.mark.parametrize(
    'path',
    [
        'static/../app.py',
        'static/..%2fapp.py',
        'static/%2e%2e/%2e%2e/settings.ini',
        'static//etc/passwd',
        'static/app.js/',
        'static/.',
        '..%5c..%5cetc',
        'static/page.html',
        'static/openapi.json',
        '.git/config',
        'static/app.js%00.css',
    ],
)
def test_no_way_to_files(server, path):
    c = http.client.HTTPConnection('127.0.0.1', server.port)
    c.request('GET', f'/{path}')
    r = c.getresponse()
    assert r.status == 404
    r.read()
    c.close()


def test_unexpected_errors_say_nothing(client, model, lines, monkeypatch):
    def broken(*a):
        raise RuntimeError('Jane Doe.png at /srv/secret')

    monkeypatch.setattr(model, 'many', broken)
    lines.clear()
    r = client.post('/api/predict', files=images(CELL))
    assert (
        r.status_code == 500
        and 'Jane' not in r.text
        and 'Traceback' not in r.text
        and len(lines) == 1
        and lines[0].startswith('RuntimeError at test_app.py:')
        and 'Jane' not in lines[0]
    )
    monkeypatch.undo()
    assert client.post('/api/predict', files=images(CELL)).status_code == 200


# Limits


@pytest.fixture
def small():
    model = Fake(seconds=0.15)
    with Server(
        make_app(
            [model],
            limits=(
                limits := Limits(
                    body=60_000,
                    memory=100_000,
                    files=4,
                    queue=3,
                    per_client=2,
                    seconds=1.0,
                    upload_seconds=1.0,
                    header_seconds=1.0,
                    connections=20,
                )
            ),
        ),
        limits=limits,
    ) as s:
        s.model = model
        yield s


def test_an_answered_request_waits_no_longer(monkeypatch):
    """Who asks again as soon as the answer is there does not meet their own request, however slowly
    the worker's thread goes on.
    """
    worker = Worker(Limits(queue=1, per_client=1, seconds=5.0))
    tell = Job.tell

    def then_slowly(*a):
        tell(*a)
        time.sleep(0.05)

    monkeypatch.setattr(Job, 'tell', then_slowly)

    async def again():
        return [await worker.do(lambda alive, n=n: n, 'one') for n in range(4)]

    try:
        assert asyncio.run(again()) == [0, 1, 2, 3]
    finally:
        worker.close()


def test_too_large_is_said_at_once_or_as_it_comes(small):
    big = images(b'\xff\xd8\xff' + b'x' * 70_000)
    r = httpx.post(f'{small.url}api/predict', files=big, trust_env=False)
    assert r.status_code == 413 and '0.06 MB' in r.json()['error']

    def pieces():
        yield b'--e\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b'x' * 1000

    r = httpx.post(
        f'{small.url}api/predict',
        content=pieces(),
        headers={'content-type': 'multipart/form-data; boundary=e'},
        trust_env=False,
    )
    assert r.status_code == 413


def test_slow_uploads_end(small):
    s = socket.create_connection(('127.0.0.1', small.port))
    s.settimeout(6)
    head = (
        b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data;'
        b' boundary=e\r\nContent-Length: 5000\r\n\r\n'
    )
    began = time.time()
    s.sendall(head + b'--e\r\n')
    for _ in range(6):
        time.sleep(0.12)
        s.sendall(b'C')
    answer = s.recv(2000)
    assert (
        b' 408 ' in answer.split(b'\r\n')[0]
        and b'did not arrive within 1 seconds' in answer
        and time.time() - began < 3
    )
    while s.recv(100):
        pass
    assert time.time() - began < 5, 'the line is closed too'


def together(url, n, **kwargs):
    async def all():
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as c:
            return await asyncio.gather(*(c.post('api/predict', **kwargs) for _ in range(n)))

    return asyncio.run(all())


def test_honest_refusals(small):
    said = together(small.url, 6, files=images(CELL))
    codes = [r.status_code for r in said]
    assert set(codes) == {200, 429} and codes.count(200) >= 2
    busy = next(r for r in said if r.status_code == 429)
    assert int(busy.headers['retry-after']) >= 1 and 'waiting already' in busy.json()['error']
    small.app.desk.worker.limits = Limits(queue=1, per_client=99, seconds=1.0)
    said = together(small.url, 8, files=images(CELL))
    assert {r.status_code for r in said} == {200, 503} and any(
        'queue is full' in r.text for r in said
    )


def test_time_is_limited(small):
    began = time.time()
    small.model.seconds = 1.5
    r = httpx.post(f'{small.url}api/predict', files=images(CELL), trust_env=False, timeout=10)
    assert (
        r.status_code == 503
        and 'No answer within 1 seconds' in r.json()['error']
        and time.time() - began < 1.6
    )
    small.model.seconds = 0
    time.sleep(0.8)
    assert (
        httpx.post(f'{small.url}api/predict', files=images(CELL), trust_env=False).status_code
        == 200
    )


def test_a_model_that_hangs_is_told(small):
    stop = threading.Event()
    small.model.many = lambda *a: stop.wait(20)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f'{small.url}api/predict', files=images(CELL), trust_env=False, timeout=0.2)
    time.sleep(2.1)
    r = httpx.get(f'{small.url}healthz', trust_env=False)
    assert r.status_code == 503 and r.json()['status'] == 'stuck'
    r = httpx.post(f'{small.url}api/predict', files=images(CELL), trust_env=False)
    assert r.status_code == 503 and 'start it anew' in r.json()['error']
    stop.set()


def test_who_left_is_not_worked_for(small):
    small.model.seconds = 1.0  # longer than a busy computer takes to send the second one
    seen = small.model.seen

    def send(n):
        try:
            httpx.post(
                f'{small.url}api/predict', files=images(*[CELL] * n), trust_env=False, timeout=0.1
            )
        except httpx.ReadTimeout:
            pass

    send(1)
    send(4)
    time.sleep(2)
    small.model.seconds = 0.3
    assert small.app.desk.worker.waiting() == 0 and small.model.seen - seen == 1, (
        'the second request was in the queue when its sender left'
    )


def test_uploads_share_a_room(small):
    half = (
        b'--e\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        + b'x' * 50_000
    )
    opened = []
    for _ in range(2):
        s = socket.create_connection(('127.0.0.1', small.port))
        s.sendall(
            b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data;'
            b' boundary=e\r\nContent-Length: 59000\r\n\r\n' + half
        )
        opened.append(s)
        time.sleep(0.05)
    s.settimeout(3)
    assert b' 503 ' in s.recv(500).split(b'\r\n')[0]
    for s in opened:
        s.close()
    time.sleep(0.3)
    assert (
        small.app.desk.room.taken == 0
        and httpx.post(f'{small.url}api/predict', files=images(CELL), trust_env=False).status_code
        == 200
    )


def test_connections_are_counted(small):
    opened = [socket.create_connection(('127.0.0.1', small.port)) for _ in range(30)]
    time.sleep(0.2)
    answers = []
    for s in opened:
        s.setblocking(False)
        try:
            answers.append(s.recv(300))
        except BlockingIOError:
            answers.append(None)
    assert sum(a is not None and b' 503 ' in a for a in answers) >= 8
    for s in opened:
        s.close()
    time.sleep(0.3)
    assert httpx.get(f'{small.url}healthz', trust_env=False).status_code == 200


# Nothing is written


def test_images_never_touch_the_disk(tmp_path):
    """The process may not write a single byte to any file (RLIMIT_FSIZE 0): what it does not keep
    in memory fails.
    """
    code = '''
import os, resource, signal, sys, tempfile
sys.dont_write_bytecode = True
sys.path.insert(0, TESTS)
from fake_model import *
from leukocls.web.application import make_app
from leukocls.web.server import Server
import httpx

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    f = tempfile.TemporaryFile()
    f.write(b'x' * 9999)
    f.flush()
    raise SystemExit('the limit does not hold')
except OSError:
    pass
noise = Image.frombytes('RGB', (1800, 1800), os.urandom(1800 * 1800 * 3))
with Server(make_app([Fake()])) as s:
    def post(way, *names):
        files = [('images', (name, blob(noise), 'image/png')) for name in names]
        return httpx.post(s.url + way, files=files, timeout=60, trust_env=False)

    r = post('api/predict', *(f'jane-doe-{i}.png' for i in range(3)))
    assert r.status_code == 200 and all(not x['error'] for x in r.json()['results']), r.text
    assert post('api/heat', 'jane-doe.png').status_code == 200
'''.replace('TESTS', repr(str(Path(__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'jane' not in done.stdout + done.stderr, 'names are not logged'


# Starting it


def test_ports_and_tokens(server):
    with pytest.raises(LeukoError, match='take another port'):
        Server(server.app, port=server.port)
    with pytest.raises(LeukoError, match='Cannot listen'):
        Server(server.app, '203.0.113.7')
    with pytest.raises(LeukoError, match='16 or more'):
        serve([Fake()], token='short', run=False)
    said = []
    s = serve([Fake()], host='0.0.0.0', port=0, say=said.append, run=False)
    s.start()
    assert (
        any('Token: ' in l for l in said)
        and httpx.get(s.url + 'api/models', trust_env=False).status_code == 401
    )
    s.stop()


def test_command_line_serves_until_interrupted(run, tmp_path):
    pytest.importorskip('onnxscript')
    import signal

    from leukocls.deploy.bundle import export_bundle

    bundle = export_bundle(run, tmp_path / 'bundle').folder
    with subprocess.Popen(
        [
            sys.executable,
            '-W',
            'ignore',
            '-u',
            '-m',
            'leukocls',
            'serve',
            bundle,
            '--port',
            '0',
            '--no-open',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as server:
        lines = [server.stdout.readline()]
        while 'Open ' not in lines[-1]:
            lines.append(server.stdout.readline())
            assert lines[-1], lines
        url = lines[-1].split('Open ')[1].strip()
        r = httpx.post(f'{url}api/predict', files=[('images', ('cell.png', CELL))], trust_env=False)
        assert r.status_code == 200 and r.json()['results'][0]['probabilities'] and '#' not in url
        taken = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                'leukocls',
                'serve',
                bundle,
                '--port',
                url.split(':')[2].strip('/'),
                '--no-open',
            ],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert taken.returncode == 2 and 'take another port' in taken.stderr
        server.send_signal(signal.SIGINT)
        out = server.stdout.read()
        assert (
            server.wait(15) in (0, 130)
            and 'Traceback' not in out
            and 'Research use only' in out
            and 'cell.png' not in out
        ), out


def test_command_line(tmp_path):
    for words, said in (
        (('serve', tmp_path / 'nowhere', '--no-open'), 'nowhere'),
        (('serve', tmp_path, '--cert', tmp_path / 'x.pem', '--no-open'), 'no such file'),
    ):
        done = leukocls(*words)
        assert done.returncode == 2 and said in done.stderr and 'Traceback' not in done.stderr, (
            done.stderr
        )
