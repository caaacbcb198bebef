"A headless Chromium, driven over its DevTools protocol: what the tests of the page need, and no more."

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from websockets.sync.client import connect

CHROMIUM = next(
    (
        found
        for name in ('chromium', 'chromium-browser', 'google-chrome')
        if (found := shutil.which(name))
    ),
    None,
)


class Chrome:
    "One tab. `js` evaluates, `until` waits, `trouble` collects what a person would call broken."

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix='leukocls-chrome-')
        self.downloads = Path(self.folder) / 'downloads'
        self.downloads.mkdir()
        self.process = subprocess.Popen(
            [
                CHROMIUM,
                '--headless=new',
                '--no-sandbox',
                '--disable-gpu',
                '--disable-dev-shm-usage',
                '--no-first-run',
                '--disable-background-networking',
                '--hide-scrollbars',
                f'--user-data-dir={self.folder}/profile',
                '--remote-debugging-port=0',
                *options,
                'about:blank',
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = Path(self.folder) / 'profile' / 'DevToolsActivePort'
        end = time.time() + 60
        while not (port.exists() and port.read_text().strip()):
            if time.time() > end or self.process.poll() is not None:
                self.close()
                raise RuntimeError('Chromium does not start')
            time.sleep(0.05)
        pages = json.load(
            urllib.request.urlopen(f'http://127.0.0.1:{port.read_text().split()[0]}/json')
        )
        target = next(p for p in pages if p['type'] == 'page')
        self.open_things = contextlib.ExitStack()
        self.ws, self.ids, self.trouble, self.asked = (
            self.open_things.enter_context(connect(target['webSocketDebuggerUrl'], max_size=None)),
            itertools.count(1),
            [],
            [],
        )
        for domain in ('Page', 'Runtime', 'Log', 'Network', 'DOM'):
            self.do(f'{domain}.enable')
        self.do('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(self.downloads))

    def _hear(self, m):
        p, kind = m.get('params', {}), m.get('method')
        if kind == 'Runtime.exceptionThrown':
            self.trouble.append(
                p['exceptionDetails']
                .get('exception', {})
                .get('description', p['exceptionDetails']['text'])
            )
        if kind == 'Runtime.consoleAPICalled' and p['type'] in ('error', 'warning', 'assert'):
            self.trouble.append(
                ' '.join(str(a.get('value', a.get('description'))) for a in p['args'])
            )
        if kind == 'Log.entryAdded' and p['entry']['level'] in ('error', 'warning'):
            self.trouble.append(p['entry']['text'])
        if kind == 'Network.requestWillBeSent':
            self.asked.append(p['request']['url'])

    def do(self, method, **params):
        "One command; its result."
        me = next(self.ids)
        self.ws.send(json.dumps(dict(id=me, method=method, params=params)))
        while True:
            m = json.loads(self.ws.recv(timeout=60))
            if m.get('id') == me:
                if 'error' in m:
                    raise RuntimeError(f"{method}: {m['error']['message']}")
                return m['result']
            self._hear(m)

    def js(self, code):
        "Value of an expression; a promise is waited for."
        r = self.do(
            'Runtime.evaluate',
            expression=code,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if 'exceptionDetails' in r:
            raise RuntimeError(
                r['exceptionDetails']
                .get('exception', {})
                .get('description', r['exceptionDetails']['text'])
            )
        return r['result'].get('value')

    def until(self, code, seconds=20):
        "Wait until an expression is true."
        end = time.time() + seconds

        def true():
            try:
                return self.js(f'Boolean({code})')
            except RuntimeError as e:
                if not str(e).startswith('Runtime.evaluate:'):
                    raise  # the page was changed for another in the middle of the question

        while not true():
            if time.time() > end:
                raise AssertionError(
                    f'not within {seconds} s: {code}\n' + self.js('document.body.innerText')[:1500]
                )
            time.sleep(0.02)

    def open(self, url):
        self.do('Page.navigate', url=url)
        self.until('document.readyState === "complete"')

    def text(self, selector='body'):
        return self.js(f'document.querySelector({json.dumps(selector)})?.innerText ?? ""')

    def click(self, selector):
        self.js(f'document.querySelector({json.dumps(selector)}).click()')

    def key(self, key, code=None, text=''):
        codes = dict(Tab=9, Enter=13, ArrowDown=40, ArrowUp=38)
        text = text or ('\r' if key == 'Enter' else ' ' if key == ' ' else '')
        for kind in ('keyDown', 'keyUp'):
            self.do(
                'Input.dispatchKeyEvent',
                type=kind,
                key=key,
                code=code or key,
                windowsVirtualKeyCode=codes.get(key, 32),
                **({'text': text} if text and kind == 'keyDown' else {}),
            )

    def choose(self, selector, paths):
        "Put files into a file input, as the file dialogue does."
        node = self.do(
            'DOM.querySelector',
            nodeId=self.do('DOM.getDocument')['root']['nodeId'],
            selector=selector,
        )['nodeId']
        self.do('DOM.setFileInputFiles', nodeId=node, files=[str(p) for p in paths])

    def look(self, width=1280, height=900, dark=False, phone=False):
        self.do(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.do('Emulation.setTouchEmulationEnabled', enabled=phone)
        self.do(
            'Emulation.setEmulatedMedia',
            features=[dict(name='prefers-color-scheme', value='dark' if dark else 'light')],
        )

    def shot(self, path=None, whole=False):
        if whole:
            time.sleep(0.1)
        png = base64.b64decode(
            self.do('Page.captureScreenshot', format='png', captureBeyondViewport=whole)['data']
        )
        if path:
            Path(path).write_bytes(png)
        return png

    def close(self):
        try:
            self.do('Browser.close')
        except Exception:
            pass
        if hasattr(self, 'open_things'):
            self.open_things.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
