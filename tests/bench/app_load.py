"""The web page under load, and how soon a person sees something: a server in a process of its own,
clients that each have their own address on this machine (127.0.0.2, …), one picture a request,
as fast as they are answered; then the page in a browser with one and with 20 pictures. The
clients share the cores with the server.

    python tests/bench/app_load.py BUNDLE --images FOLDER --out results/app-load.csv
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
from said import command

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def memory(pid, which='VmRSS'):
    return next(
        int(line.split()[1]) / 1024
        for line in open(f'/proc/{pid}/status')
        if line.startswith(which)
    )


def started(bundles):
    "The server as a user starts it; its process and its address."
    p = subprocess.Popen(
        [
            sys.executable,
            '-W',
            'ignore',
            '-u',
            '-m',
            'leukocls',
            'serve',
            *bundles,
            '--port',
            '0',
            '--no-open',
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in p.stdout:
        if line.startswith('Open '):
            return p, line.split()[1]
    raise SystemExit('the server did not start')


async def client(n, url, blobs, until, rows):
    """One client: a request, its answer, the next request; after a refusal it waits as long as it
    is told, at most.
    """
    rng = random.Random(n)
    transport = httpx.AsyncHTTPTransport(local_address=f'127.0.0.{n + 2}')
    async with httpx.AsyncClient(transport=transport, timeout=60, trust_env=False) as c:
        while time.monotonic() < until:
            name, data = rng.choice(blobs)
            began = time.monotonic()
            try:
                r = await c.post(f'{url}api/predict', files=[('images', (name, data))])
                status = r.status_code
                if status == 200 and (said := r.json()['results'])[0]['error']:
                    status = said[0]['error']
            except httpx.HTTPError as e:
                status = type(e).__name__
            rows.append((began, time.monotonic() - began, status))
            if status in (429, 503):
                await asyncio.sleep(float(r.headers['retry-after']) * rng.random())


async def load(url, blobs, clients, seconds):
    rows = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(n, url, blobs, until, rows) for n in range(clients)))
    return pd.DataFrame(rows, columns=['began', 'seconds', 'status'])


def in_the_page(url, paths):
    """Seconds from choosing pictures to the first result and to the last one, in Chromium: one
    picture, then 20.
    """
    from chrome import Chrome

    with Chrome() as c:
        c.open(url)
        c.until('document.querySelector(".model")')
        c.js(
            '''
            new MutationObserver(() => {
                const cards = document.querySelectorAll(".card").length;
                const waiting = document.querySelectorAll(".card.wait").length;
                const now = performance.now();
                if (cards && !window.began) window.began = now;
                if (cards && waiting < cards && !window.first) window.first = now;
                if (cards && !waiting && !window.last) window.last = now;
            }).observe(document.body, {subtree: true, childList: true, attributes: true})
            '''
        )
        out = {}
        for some in (paths[:1], paths[:1], paths[:20]):  # the first time warms the browser up
            c.js('window.began = window.first = window.last = 0')
            c.choose('#files', some)
            c.until('window.last')
            out[len(some)] = c.js(
                '[(window.first - window.began)/1000, (window.last - window.began)/1000]'
            )
            c.click('#clear')
        return out


def main():
    ap = argparse.ArgumentParser()
    add = ap.add_argument
    add('bundles', nargs='+')
    add('--images', required=True)
    add('--clients', type=int, default=16)
    add('--seconds', type=float, default=60)
    add('--out', required=True)
    a = ap.parse_args()
    paths = sorted(
        p
        for p in Path(a.images).rglob('*')
        if p.suffix.lower() in ('.jpg', '.jpeg', '.png', '.bmp')
    )
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, 64).astype(int)]
    blobs = [(p.name, p.read_bytes()) for p in paths]
    rows = []
    for bundle in a.bundles:
        server, url = started([bundle])
        try:
            model = httpx.get(f'{url}api/models', trust_env=False).json()['models'][0]
            page = in_the_page(url, paths)
            asyncio.run(load(url, blobs, a.clients, 5))
            before = memory(server.pid)
            t = asyncio.run(load(url, blobs, a.clients, a.seconds))
            time.sleep(1)
            good = t[t.status == 200]
            half = t.began.min() + a.seconds / 2

            def ms(q, seconds=good.seconds):
                return round(1000 * float(seconds.quantile(q)), 1)

            refused = {s: int((t.status == s).sum()) for s in (429, 503)}
            rows.append(
                dict(
                    model=model['name'],
                    cores=os.cpu_count(),
                    load_average=round(os.getloadavg()[0], 2),
                    clients=a.clients,
                    seconds=a.seconds,
                    requests=len(t),
                    answered=len(good),
                    refused_429=refused[429],
                    refused_503=refused[503],
                    errors=len(t) - len(good) - sum(refused.values()),
                    images_per_second=round(len(good) / a.seconds, 1),
                    first_half=round(float((good.began < half).sum()) / a.seconds * 2, 1),
                    p50_ms=ms(0.5),
                    p95_ms=ms(0.95),
                    p99_ms=ms(0.99),
                    rss_before_mb=round(before, 1),
                    rss_after_mb=round(memory(server.pid), 1),
                    rss_peak_mb=round(memory(server.pid, 'VmHWM'), 1),
                    page_one_s=round(page[1][1], 3),
                    page_first_of_20_s=round(page[20][0], 3),
                    page_20_s=round(page[20][1], 3),
                    command=command(),
                )
            )
            print(rows[-1], flush=True)
        finally:
            server.terminate()
            server.wait(20)
    pd.DataFrame(rows).to_csv(a.out, index=False, lineterminator='\n')


if __name__ == '__main__':
    main()
