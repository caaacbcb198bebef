"""What a training step in bfloat16 on a CPU spends its time on: as PyTorch makes it, with the layers that
leukocls puts in its place (`QuickLayers`), and two ways that were tried and are not taken.

    python tests/bench/step.py --arch mobilenetv2_100 --out results/step.csv
    python tests/bench/step.py --arch efficientnet_b3 --ways "as PyTorch makes it" "quick layers" \\
        --out results/step.csv

Random weights, 224 pixels, batches of 32, AdamW, memory that is kept. The ways take a turn each,
medians of three turns; then the operations of one step are counted by PyTorch's profiler. Rows of
other networks stay in the table. `torch.compile` is timed without the time that compiling takes,
which has a row of its own.
"""

import argparse
import os
import statistics
import tempfile
import time

import pandas as pd
import timm
import torch
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from leukocls.cli.bench import matrix_rate, operations
from leukocls.core.machine import pages_kept, versions
from leukocls.train.callbacks import QUICK_LAYERS

BATCH, SIZE, CLASSES, SHOWN = 32, 224, 8, 10


class Way:
    "One way to make a step."

    def __init__(self, arch, quick, compiled=False, at_once=BATCH):
        torch.manual_seed(0)
        net = timm.create_model(arch, num_classes=CLASSES)
        self.net = net.to(memory_format=torch.channels_last).train()
        if quick:
            for m in self.net.modules():
                kind = next((kind for kind in QUICK_LAYERS if kind.fits(m)), None)
                m.__class__ = kind or type(m)
        self.opt = torch.optim.AdamW(self.net.parameters(), 1e-4)
        self.call = torch.compile(self.net) if compiled else self.net
        self.at_once = at_once
        pictures = torch.randn(BATCH, 3, SIZE, SIZE)
        self.x = pictures.contiguous(memory_format=torch.channels_last)
        self.y = torch.randint(0, CLASSES, (BATCH,))

    def step(self):
        "Forward, back, and the optimiser."
        for start in range(0, BATCH, self.at_once):
            some = slice(start, start + self.at_once)
            with torch.autocast('cpu', dtype=torch.bfloat16):
                p = self.call(self.x[some])
            loss = cross_entropy(p.float(), self.y[some]) * (self.at_once / BATCH)
            loss.backward()
        self.opt.step()
        self.opt.zero_grad()

    def seconds(self, n=3):
        self.step()
        began = time.perf_counter()
        for _ in range(n):
            self.step()
        return (time.perf_counter() - began) / n

    def operations(self):
        "Pairs (operation, milliseconds of a step), the longest first."
        with profile(activities=[ProfilerActivity.CPU]) as p:
            self.step()
        found = [(e.key, e.self_cpu_time_total / 1000) for e in p.key_averages()]
        return sorted(found, key=lambda pair: -pair[1])


WAYS = {
    'as PyTorch makes it': dict(quick=False),
    'quick layers': dict(quick=True),
    'quick layers, four parts of 8 images': dict(quick=True, at_once=8),
    'torch.compile': dict(quick=False, compiled=True),
}
PROFILED = 'as PyTorch makes it', 'quick layers'


def _least(arch):
    "Milliseconds of a step's arithmetic: three times that of a prediction, at the machine's best."
    of_one = operations(timm.create_model(arch, num_classes=CLASSES), SIZE)
    return 1000 * 3 * BATCH * of_one / matrix_rate(bf16=True)


def measured(arch, names):
    "Rows of one network."
    ways, rows = {}, [('', 'arithmetic alone', _least(arch))]
    with pages_kept():
        for name in names:
            ways[name] = Way(arch, **WAYS[name])
            began = time.perf_counter()
            ways[name].step()
            if WAYS[name].get('compiled'):
                rows.append((name, 'compiling', 1000 * (time.perf_counter() - began)))
        turns = [{name: way.seconds() for name, way in ways.items()} for _ in range(3)]
        for name, way in ways.items():
            whole = 1000 * statistics.median(turn[name] for turn in turns)
            rows.append((name, 'whole step', whole))
            print(arch, name, f'{whole:.0f} ms, {1000 * BATCH / whole:.1f} images/s', flush=True)
            if name in PROFILED:
                rows += [(name, *pair) for pair in way.operations()[:SHOWN]]
    return [
        dict(arch=arch, way=way, part=part, milliseconds=round(ms, 1)) for way, part, ms in rows
    ]


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--arch', required=True)
    ap.add_argument('--ways', nargs='*', default=list(WAYS), choices=WAYS)
    ap.add_argument('--out', required=True)
    o = ap.parse_args()
    ways = ' '.join(f'"{name}"' for name in o.ways)
    told = '' if o.ways == list(WAYS) else f' --ways {ways}'
    with tempfile.TemporaryDirectory() as folder:
        # nothing that was compiled before counts
        os.environ['TORCHINDUCTOR_CACHE_DIR'] = folder
        rows = measured(o.arch, o.ways)
    table = pd.DataFrame(rows).assign(
        cores=os.cpu_count(),
        torch=versions()['torch'],
        command=f'python tests/bench/step.py --arch {o.arch}{told} --out {o.out}',
    )
    if os.path.exists(o.out):
        before = pd.read_csv(o.out)
        table = pd.concat([before[before.arch != o.arch], table])
    table.to_csv(o.out, index=False, lineterminator='\n')


if __name__ == '__main__':
    main()
