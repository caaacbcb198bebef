"""After each of more than a hundred hostile files and requests, the server answers the next good
one, and its memory stays where it said.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hostile import CELL, files, form, post, requests

from leukocls.web.upload import Limits

httpx, _ = pytest.importorskip('httpx'), pytest.importorskip('starlette')
HERE = Path(__file__).parents[1]
LIMITS = Limits(header_seconds=1.0, upload_seconds=1.5, seconds=20.0)
SERVER = f'''
import sys
sys.path.insert(0, {str(HERE)!r})
from fake_model import Fake
from leukocls.web.application import make_app
from leukocls.web.server import Server
from leukocls.web.upload import Limits

def log(line): print('ERROR', line, flush=True)

limits = {LIMITS!r}
s = Server(make_app([Fake('fake')], limits=limits, log=log), limits=limits)
print(s.port, flush=True)
s.run()
'''


def memory(pid, which='VmRSS'):
    return next(
        int(line.split()[1]) * 1024
        for line in open(f'/proc/{pid}/status')
        if line.startswith(which)
    )


class Victim:
    def __init__(self, folder):
        self.out = open(folder / 'out', 'w+')
        self.process = subprocess.Popen(
            [sys.executable, '-c', SERVER], stdout=self.out, stderr=self.out, cwd=HERE.parent
        )
        end = time.time() + 60
        while not (text := Path(self.out.name).read_text()).strip().split('\n')[0].isdigit():
            assert self.process.poll() is None and time.time() < end, text
            time.sleep(0.05)
        self.port = int(text.split()[0])
        self.url = f'http://127.0.0.1:{self.port}'
        [self.good() for _ in range(3)]
        self.base = memory(self.process.pid)

    def good(self):
        "A good request is answered, quickly and rightly."
        began = time.time()
        r = httpx.post(
            f'{self.url}/api/predict',
            files=[('images', ('cell.png', CELL))],
            timeout=10,
            trust_env=False,
        )
        assert (
            r.status_code == 200
            and r.json()['results'][0]['label'] == 'Pro'
            and r.json()['results'][0]['error'] == ''
        )
        return time.time() - began

    def raw(self, data, seconds=8):
        "Bytes over a line of their own; what comes back until it is closed or quiet."
        with socket.create_connection(('127.0.0.1', self.port), timeout=seconds) as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was refused before all was sent
            got, end = b'', time.time() + seconds
            s.settimeout(0.1)
            while time.time() < end:
                try:
                    piece = s.recv(65536)
                except socket.timeout:
                    if got:
                        break
                    continue
                except ConnectionResetError:
                    break
                if not piece:
                    break
                got += piece
            else:
                raise AssertionError(f'the line was still open after {seconds} s')
        return got


@pytest.fixture(scope='module')
def victim(tmp_path_factory):
    if not Path('/proc/self/status').exists():
        pytest.skip('memory is read from /proc')
    v = Victim(tmp_path_factory.mktemp('victim'))
    yield v
    v.process.kill()
    v.process.wait()


MARKER = f'{tempfile.gettempdir()}/leukocls-opened-{os.getpid()}'
FILES, REQUESTS = files(MARKER), requests()


def test_there_are_enough():
    assert len(FILES) + len(REQUESTS) >= 120


@pytest.mark.parametrize('name', FILES)
def test_file(victim, name):
    make, fine = FILES[name]
    data, began = make(), time.time()
    r = httpx.post(
        f'{victim.url}/api/predict',
        files=[('images', ('x.png', data, 'image/png')), ('images', ('cell.png', CELL))],
        timeout=25,
        trust_env=False,
    )
    assert r.status_code == 200, r.text
    said, cell = r.json()['results']
    assert cell['label'] == 'Pro' and not cell['error'], 'its neighbour is not affected'
    assert fine is None or bool(said['error']) != fine, (name, said)
    assert said['error'] == '' or len(said['error']) < 150 and 'File "' not in said['error']
    assert time.time() - began < 12 and victim.good() < 3 and not Path(MARKER).exists()


@pytest.mark.parametrize('name', REQUESTS)
def test_request(victim, name):
    data, right = REQUESTS[name]
    got = victim.raw(data)
    status = int(got.split(b' ', 2)[1]) if got.startswith(b'HTTP/') else None
    assert status in right, (status, got[:300])
    assert (
        b'Traceback' not in got
        and b'set-cookie' not in got.split(b'\r\n\r\n')[0].lower()
        and b'root:' not in got
        and b'<script>' not in got.split(b'\r\n\r\n', 1)[-1].replace(b'<script src=', b'')
    )
    if status and status not in (200, 303) and b'application/json' in got:
        assert list(json.loads(got.split(b'\r\n\r\n', 1)[1].split(b'HTTP/1.1')[0])) == ['error']
    assert victim.good() < 3


def test_a_flood_of_slow_lines_does_not_keep_others_out(victim):
    lines = []
    for _ in range(LIMITS.connections + 40):
        try:
            s = socket.create_connection(('127.0.0.1', victim.port), timeout=2)
            s.sendall(b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-')
            lines.append(s)
        except OSError:
            pass
    time.sleep(LIMITS.header_seconds + 0.5)
    victim.good()
    for s in lines:
        s.close()


def test_more_than_the_limit_is_not_kept(victim):
    body = form(
        (
            b'Content-Disposition: form-data; name="images"; filename="a"',
            b'\xff\xd8\xff' + bytes(LIMITS.body),
        )
    )
    before = memory(victim.process.pid)
    assert b' 413 ' in victim.raw(post(body))[:40] and memory(victim.process.pid) < before + 50e6
    victim.good()


def test_an_endless_body_ends(victim):
    with socket.create_connection(('127.0.0.1', victim.port), timeout=5) as s:
        s.sendall(
            b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data;'
            b' boundary=edge\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        piece, began = b'10000\r\n' + bytes(65536) + b'\r\n', time.time()
        try:
            while time.time() - began < 10:
                s.sendall(piece)
            raise AssertionError('the server still listens')
        except OSError:
            pass
    victim.good()


def test_memory_and_log_at_the_end(victim):
    """Runs last. The peak is what was promised: uploads, and one picture of 50 megapixels at 24
    bytes a pixel; then all of it is given back.
    """
    peak, now = memory(victim.process.pid, 'VmHWM'), memory(victim.process.pid)
    promised = victim.base + LIMITS.memory + 24 * LIMITS.pixels
    assert peak < promised, (peak, promised)
    assert now < victim.base + 120e6, (now, victim.base)
    log = Path(victim.out.name).read_text().split('\n', 1)[1]
    assert (
        'Traceback' not in log
        and 'ERROR' not in log
        and 'cell.png' not in log
        and 'x.png' not in log
    ), log
    assert victim.process.poll() is None
