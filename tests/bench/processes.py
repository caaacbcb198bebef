"""One training in two processes on this machine (gloo, CPU) against the same in one, on synthetic
films.

What is measured, a row each:
- curve: losses of every epoch, for each seed, with one process and with two, changes of the images
  included; exact: the same without random changes, where both must agree but for rounding
- seen: how many images an epoch read, and how often the most frequent one
- metrics: the largest difference between what the run of two processes reports and one process's
  judgement of the same weights
- speed: seconds for the steps of the quickest epoch, and two processes' share of twice the speed;
  the same by the processors' time, which other work on the machine does not disturb (waiting for each
  other costs none), and the machine's load meanwhile
- killed: one of two processes ended by SIGKILL; seconds until the command ended, its exit code, and
  the largest difference of the history of a run that went on with two processes, or with one, from
  that of one that nobody killed
- model: time of a step on 1, 8 and 64 GPUs, computed from steps that were measured on one H200
  (results/gpu-networks.csv) and from the bytes of the gradients

    python tests/bench/processes.py --out results/processes.csv

needs the extra `distributed`. The two processes have one core each, and so has the one.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from fastai.callback.core import Callback
from said import command

import leukocls.report.page as page
from leukocls import FILM_PATIENT, Run, draw_films, train_all
from leukocls.measure.metrics import measured
from leukocls.models.predictor import evaluate
from leukocls.train.processes import start_processes

SEEDS = 0, 1, 2
RECIPE = dict(recipes='small-cnn', size=32, bs=32, lr=2e-3)
CASES = {
    'curve': dict(epochs=6),
    # a network of timm without dropout, whose batch norms hold activations
    'exact': dict(epochs=6, augment='none', arch='test_efficientnet', top='linear'),
    'speed': dict(epochs=4, size=96, bs=64, augment='none'),
}
# bytes per second that a GPU sends and receives, and seconds until a message is there
LINKS = {
    # in one machine, and between machines at 400 and at 10 Gbit/s
    'NVLink': (450e9, 10e-6),
    'InfiniBand': (50e9, 20e-6),
    'Ethernet': (1.25e9, 50e-6),
}


class Watch(Callback):
    "Notes which images a process reads, and how long its steps take."

    order = 2000

    def __init__(self, out):
        self.out, self.epochs = out, []

    def before_train(self):
        self.began = time.perf_counter(), time.process_time()

    def after_train(self):
        seconds = time.perf_counter() - self.began[0]
        work = time.process_time() - self.began[1]
        rows = [int(i) for i in vars(self.dls.train)['_DataLoader__idxs']]
        bs = self.dls.train.bs
        rows = rows[: len(rows) // bs * bs]
        load = os.getloadavg()[0]
        self.epochs.append(dict(seconds=seconds, work=work, rows=rows, load=load))

    def after_fit(self):
        rank = os.environ.get('RANK', '0')
        Path(f'{self.out}-{rank}.json').write_text(json.dumps(self.epochs))


def work(films, out, cases):
    "What each process does: train every case with every seed; the report has no plots."
    page._plots = lambda *args: {}
    for case in cases:
        for seed in SEEDS if case != 'speed' else SEEDS[:1]:
            folder = f'{out}/{case}-{seed}'
            Path(folder).mkdir(parents=True, exist_ok=True)
            how = RECIPE | CASES[case] | dict(patient=FILM_PATIENT, seed=seed, device='cpu')
            train_all(films, out=folder, progress=False, cbs=Watch(f'{folder}/watch'), **how)


def history(folder):
    (file,) = Path(folder).glob('*/history.csv')
    return pd.read_csv(file)


def watched(folder, processes):
    return [json.loads(Path(f'{folder}/watch-{i}.json').read_text()) for i in range(processes)]


def trained(films, place, cases):
    "Folder of the runs with each number of processes."
    outs = {}
    for processes in (2, 1):
        outs[processes] = f'{place}/{processes}'
        words = [__file__, '--work', films, '--to', outs[processes], '--cases', ','.join(cases)]
        if processes == 1:
            subprocess.run([sys.executable, *words], check=True)
        else:
            assert start_processes(2, words) == 0
    return outs


def curves(outs):
    for case in ('curve', 'exact'):
        for seed in SEEDS:
            for processes, out in outs.items():
                for row in history(f'{out}/{case}-{seed}').itertuples():
                    yield dict(
                        what=case,
                        seed=seed,
                        processes=processes,
                        epoch=row.epoch,
                        train_loss=row.train_loss,
                        valid_loss=row.valid_loss,
                    )


def seen(outs):
    for processes, out in outs.items():
        for seed in SEEDS:
            for epoch, parts in enumerate(zip(*watched(f'{out}/curve-{seed}', processes)), 1):
                counts = pd.Series([row for part in parts for row in part['rows']]).value_counts()
                yield dict(
                    what='seen',
                    seed=seed,
                    processes=processes,
                    epoch=epoch,
                    images=len(counts),
                    most_often=counts.max(),
                )


def metrics(outs):
    "What a run of two processes reports, judged again in this one."
    for seed in SEEDS:
        (file,) = Path(f'{outs[2]}/curve-{seed}').glob('*/metrics.json')
        run = Run(file.parent)
        again = evaluate(run.learner, run.table[run.table.split == 'test'], device='cpu')
        values = [(again[k]['value'], run.metrics[k]['value']) for k in measured(run.metrics)]
        yield dict(
            what='metrics',
            seed=seed,
            processes=2,
            difference=max(abs(one - other) for one, other in values),
        )


def speed(outs):
    quickest, least, load = {}, {}, {}
    for processes, out in outs.items():
        epochs = list(zip(*watched(f'{out}/speed-0', processes)))
        quickest[processes] = min(max(p['seconds'] for p in parts) for parts in epochs)
        least[processes] = min(sum(p['work'] for p in parts) for parts in epochs)
        load[processes] = min(p['load'] for parts in epochs for p in parts)
    for processes, seconds in quickest.items():
        yield dict(
            what='speed',
            seed=0,
            processes=processes,
            seconds=round(seconds, 3),
            efficiency=round(quickest[1] / seconds / processes, 3),
            processor_seconds=round(least[processes], 3),
            efficiency_of_work=round(least[1] / least[processes], 3),
            load=round(load[processes], 1),
        )


def killed(films, place):
    "A worker is killed; the same command goes on with two processes, or with one."
    words = ['-m', 'leukocls', 'train', films, '--patient', FILM_PATIENT, '--recipe', 'small-cnn']
    words += '--size 32 --bs 32 --lr 2e-3 --epochs 4 --device cpu --checkpoint-minutes 0'.split()
    whole = f'{place}/whole'
    run([*words, '--out', whole, '--processes', '2'])
    for rank in (0, 1):
        for processes in (1, 2):
            out = f'{place}/killed-{rank}-{processes}'
            code, seconds = run([*words, '--out', out, '--processes', '2'], rank, out)
            after, _ = run([*words, '--out', out, '--processes', str(processes)])
            losses = history(out).valid_loss - history(whole).valid_loss
            yield dict(
                what='killed',
                rank=rank,
                exit_code=code,
                seconds=round(seconds, 1),
                processes=processes,
                exit_code_then=after,
                difference=losses.abs().max(),
            )


def run(words, rank=None, out=None):
    "(exit code of a command, seconds that it ran after one of its processes was killed)."
    mark = str(time.monotonic_ns())
    child = subprocess.Popen(
        [sys.executable, *words], env=os.environ | dict(MARK=mark), stdout=subprocess.DEVNULL
    )
    began = time.monotonic()
    if rank is not None:
        while not list(Path(out).glob('*/checkpoints/00000[5-9].json')):
            assert child.poll() is None
            time.sleep(0.02)
        os.kill(process_of(mark, rank), signal.SIGKILL)
        began = time.monotonic()
    return child.wait(300), time.monotonic() - began


def process_of(mark, rank):
    "Number of the process that has such variables."
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            words = path.read_bytes().split(b'\0')
        except OSError:
            continue
        if f'MARK={mark}'.encode() in words and f'RANK={rank}'.encode() in words:
            return int(path.parent.name)
    raise SystemExit('no such process')


def exchange_seconds(n, size, bandwidth, latency):
    "A ring all-reduce among n: each sends and receives 2(n-1)/n of all bytes in 2(n-1) messages."
    return 2 * (n - 1) / n * size / bandwidth + 2 * (n - 1) * latency


def model():
    "Steps of the papers' networks on several GPUs, each with the batch that one had."
    table = pd.read_csv(Path(__file__).parents[2] / 'results/gpu-networks.csv')
    for row in table.itertuples():
        # steps as PyTorch makes them: several processes replay none
        eager = re.search(r'([\d.]+) → [\d.]+ ms a step', str(row.steps))
        step = float(eager[1]) / 1000 if eager else row.bs / row.train_images_per_second
        for n in (1, 8, 64):
            for link, (bandwidth, latency) in LINKS.items():
                inside = link == 'NVLink'
                if (n > 8) == inside or (n == 1 and not inside):
                    continue
                exchange = exchange_seconds(n, 4 * row.parameters, bandwidth, latency)
                # half of a step is its way back, during which gradients are exchanged
                total = step + max(0.0, exchange - step / 2)
                yield dict(
                    what='model',
                    recipe=row.recipe,
                    processes=n,
                    link=link if n > 1 else 'one GPU',
                    step_ms=round(1000 * step, 2),
                    gradient_mb=round(4 * row.parameters / 1e6, 1),
                    exchange_ms=round(1000 * exchange, 2),
                    images_per_second=round(n * row.bs / total),
                    efficiency=round(step / total, 3),
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='results/processes.csv')
    parser.add_argument('--work')
    parser.add_argument('--to')
    parser.add_argument('--cases')
    parser.add_argument('--only', help='such as speed,killed; the other rows stay')
    a = parser.parse_args()
    if a.work:
        work(a.work, a.to, a.cases.split(','))
        return
    only = a.only.split(',') if a.only else []
    with tempfile.TemporaryDirectory() as place:
        films = str(draw_films(f'{place}/films', patients=12, images=8, size=48, seed=0))
        cases = [case for case in CASES if not only or case in only]
        outs = trained(films, place, cases) if cases else {}
        parts = dict(curve=curves, seen=seen, metrics=metrics, speed=speed)
        rows = old_rows(a.out, only)
        for name, part in parts.items():
            if name in only or not only:
                rows += part(outs)
        if not only or 'model' in only:
            rows += model()
        keep(rows, a.out)
        for row in killed(films, place) if not only or 'killed' in only else ():
            rows.append(row)
            keep(rows, a.out)


def old_rows(out, only):
    "Rows that are not measured again."
    if not only:
        return []
    table = pd.read_csv(out)
    return table[~table.what.isin(only)].drop(columns='command').to_dict('records')


def keep(rows, out):
    words = re.sub(r' --only \S+', '', command())
    pd.DataFrame(rows).assign(command=words).to_csv(out, index=False)


if __name__ == '__main__':
    main()
