"""EfficientNet-B3 with fastai on a GPU (study P4's recipe), files to report, against plain fastai;
and what a step costs and could cost.

    python tests/bench/gpu.py --part step --data DATA --out results/gpu-steps.csv
    python tests/bench/gpu.py --part run --data DATA --out results/gpu.csv --times 3
    python tests/bench/gpu.py --part networks --data DATA --out results/gpu-networks.csv

`run`: each side is a fresh process that starts with `import`, in turns. leukocls: `train_all(DATA,
"effb3", **protocol("effb3"))`, to the written report: looking for unreadable files and
near-duplicates, training, predictions, measures with intervals, calibration, gate, plots, page.
fastai: the paper's own lines with its loaders at their default, or with the better of several
numbers of processes (`--workers`): 20 epochs, validation, predictions, export; no report. Both keep
the body frozen, compute in fp16 and use the same 80/20 split. ImageNet's weights cannot be had
where this was measured, so both start from the same random ones, saved in timm's layout: times are
the same, accuracies are not those of the paper. `step`: training images/s of the second epoch, made
faster one thing at a time; `limit` is what is left if the slower of arithmetic (measured matrix
products) and memory (every operation's inputs and outputs moved once, at the measured rate of a
copy) were all. `networks`: the full-size networks of studies P1 to P4, each with its recipe's size,
batch and augmentation, from random weights: four epochs, training and validation images/s of the
last two, and how long all epochs of the recipe would take on 2,604 images at that rate (without
stopping early).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ap = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
ap.add_argument('--part', required=True, choices=['step', 'run', 'networks'])
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
ap.add_argument('--arch', default='efficientnet_b3')
ap.add_argument('--times', type=int, default=3)
ap.add_argument('--theirs', type=int, help='turns of fastai, where there is little time')
ap.add_argument('--systems', nargs='+', default=['p4', 'p3', 'p2', 'p1'])
ap.add_argument('--epochs', type=int, default=20)
ap.add_argument(
    '--workers',
    type=int,
    nargs='+',
    default=[-1],
    help="processes of fastai's loader; -1 is its default",
)
ap.add_argument('--size', type=int, default=224)
ap.add_argument('--bs', type=int, default=64)
ap.add_argument('--bodies', nargs='+', default=['frozen', 'trained'])
ap.add_argument('--ours-only', action='store_true')
ap.add_argument('--compile', action='store_true')
o = ap.parse_args()
shown = (
    f'python tests/bench/gpu.py --part {o.part} --data {Path(o.data).name} --out {o.out}'
    + ''.join(
        f' --{k} {getattr(o, k)}'
        for k in ('arch', 'times', 'theirs', 'epochs', 'size', 'bs')
        if getattr(o, k) != ap.get_default(k)
    )
    + (' --workers ' + ' '.join(map(str, o.workers)) if o.workers != [-1] else '')
    + ' --compile' * o.compile
    + ' --ours-only' * o.ours_only
    + (' --bodies ' + ' '.join(o.bodies) if o.bodies != ap.get_default('bodies') else '')
)

PROCESSES = Path(__file__).parent / 'processes'


def process(script, asked, cache):
    "Seconds of a fresh Python process, and what it found."
    began = time.time()
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(PROCESSES / script), json.dumps(asked)],
        capture_output=True,
        text=True,
        env={**os.environ, 'LEUKOCLS_CACHE': cache},
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return began, time.time() - began, json.loads(done.stdout.split('RESULT ')[1])


def compare():
    from leukocls.cli.bench import random_weights
    from leukocls.data.splits import split_table
    from leukocls.data.table import read_table

    rows = []
    with tempfile.TemporaryDirectory() as d:
        weights = str(random_weights(o.arch, f'{d}/w'))
        t = split_table(read_table(o.data), 'random', 0.2, 0)
        t.assign(is_valid=t.split == 'valid')[['path', 'label', 'is_valid']].to_csv(
            f'{d}/t.csv', index=False
        )
        facts = dict(
            data=o.data,
            arch=o.arch,
            weights=weights,
            size=o.size,
            bs=o.bs,
            epochs=o.epochs,
            csv=f'{d}/t.csv',
        )

        def add(side, took, r, **more):
            rows.append(
                dict(
                    side=side,
                    seconds=round(took, 2),
                    train_images_per_second=round(r['n'] / r['epoch'], 1),
                    epoch_seconds=round(r['epoch'], 2),
                    accuracy=round(100 * r['accuracy'], 2),
                    **more,
                )
            )
            print(rows[-1], flush=True)
            write(rows, t)

        for k in range(o.times):
            began, whole, r = process(
                'gpu_ours.py', dict(facts, out=f'{d}/runs{k}'), f'{d}/cache{k}'
            )
            add(
                'leukocls',
                r['report'] - began,
                r,
                whole_process=round(whole, 2),
                train_part=r['seconds']['train'],
                predict_part=r['seconds']['predict'],
                steps=r['steps'],
            )
            for w in o.workers if k < (o.times if o.theirs is None else o.theirs) else ():
                _, whole, r = process(
                    'gpu_fastai.py',
                    dict(facts, out=d, loading={} if w < 0 else dict(num_workers=w)),
                    f'{d}/cache{k}',
                )
                add(
                    f"fastai, {'default' if w < 0 else w} loader processes",
                    whole,
                    r,
                    whole_process=round(whole, 2),
                )


def write(rows, t):
    import torch

    from leukocls.core.machine import versions

    f = pd.DataFrame(rows)
    mid = f.groupby('side').seconds.median()
    best = mid.drop('leukocls', errors='ignore').min()
    f['median_seconds'] = f.side.map(mid).round(2)
    f['times_faster_than_fastai'] = round(best / mid['leukocls'], 2)
    f = f.assign(
        arch=o.arch,
        size=o.size,
        bs=o.bs,
        epochs=o.epochs,
        train_images=int((t.split == 'train').sum()),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        cores=os.cpu_count(),
        torch=versions()['torch'],
        fastai=versions()['fastai'],
        command=shown,
    )
    f.to_csv(o.out, index=False, lineterminator='\n')


def ceilings(device):
    "Measured (half-precision operations/s, bytes/s of a copy, read and written)."
    import torch

    def rate(work, amount, n=20):
        [work() for _ in range(3)]
        torch.cuda.synchronize()
        began = time.perf_counter()
        [work() for _ in range(n)]
        torch.cuda.synchronize()
        return n * amount / (time.perf_counter() - began)

    a = torch.randn(8192, 8192, device=device, dtype=torch.float16)
    b = torch.empty(2**30, device=device, dtype=torch.uint8)
    c = torch.empty_like(b)
    return rate(lambda: a @ a, 2 * 8192**3), rate(lambda: c.copy_(b), 2 * 2**30)


def traffic(learn):
    """Operations and bytes of one image in a training step: twice (frozen body) or three times the
    arithmetic of the forward pass, as PyTorch counts it; every operation's inputs and outputs
    once.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    class Bytes(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if not func.is_view and func._schema.name not in (
                'aten::detach',
                'aten::empty_like',
                'aten::empty',
            ):
                self.total += sum(
                    t.numel() * t.element_size()
                    for t in tree_leaves((args, kwargs, out))
                    if isinstance(t, torch.Tensor)
                )
            return out

    x, y = learn.dls.one_batch()
    x, y = x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)
    m = learn.model.train()
    flops, moved = FlopCounterMode(display=False), Bytes()
    with flops, torch.no_grad(), torch.autocast('cuda', torch.float16):
        m(x)
    with moved, torch.autocast('cuda', torch.float16):
        torch.nn.functional.cross_entropy(m(x).float(), y).backward()
    m.zero_grad()
    return flops.get_total_flops() * (3 if next(m.parameters()).requires_grad else 2) / len(
        x
    ), moved.total / len(x)


def clock(took, looked):
    """A callback that writes down the seconds of the training part and of the validation of each
    epoch.
    """
    import torch
    from fastai.callback.core import Callback

    class Clock(Callback):
        order = 100

        def _now(self):
            torch.cuda.synchronize()
            return time.perf_counter()

        def before_train(self):
            self.began = self._now()

        def after_train(self):
            took.append(self._now() - self.began)

        def before_validate(self):
            self.began = self._now()

        def after_validate(self):
            looked.append(self._now() - self.began)

    return Clock()


def steps():
    import torch
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner

    from leukocls.cli.bench import random_weights
    from leukocls.core.machine import set_seed, versions
    from leukocls.data.splits import split_table
    from leukocls.data.table import read_table
    from leukocls.models.backbones import cell_learner
    from leukocls.train.loaders import CellDataLoaders
    from leukocls.train.speed import (
        CompileIfItPays,
        LossesStay,
        PlainTensors,
        Replay,
        ScaledHalf,
        list_adam,
    )

    t = split_table(read_table(o.data), 'random', 0.2, 0)
    rows = []
    device = torch.device('cuda')
    operations, copy = ceilings(device)
    print(f'{operations / 1e12:.0f} TFLOP/s, {copy / 1e12:.2f} TB/s', flush=True)
    with tempfile.TemporaryDirectory() as d:
        weights = str(random_weights(o.arch, f'{d}/w'))
        frame = t.assign(is_valid=t.split == 'valid')[['path', 'label', 'is_valid']]
        dls = CellDataLoaders.from_table(t, size=o.size, bs=o.bs, device='cuda')

        def ours():
            return cell_learner(dls, o.arch, weights, fp16=False)

        def theirs():
            return vision_learner(
                ImageDataLoaders.from_df(
                    frame,
                    path='/',
                    fn_col='path',
                    label_col='label',
                    valid_col='is_valid',
                    item_tfms=Resize(o.size),
                    bs=o.bs,
                ),
                f'local-dir:{weights}',
            )

        ways = [
            ('plain fastai', theirs, [], False),
            ('images decoded once, on the GPU', ours, [], False),
            ('and plain tensors', ours, [PlainTensors], False),
            ('and a fused Adam that does not wait', ours, [PlainTensors, LossesStay], True),
            ('and replayed', ours, [PlainTensors, LossesStay, Replay], True),
        ]
        if o.compile:
            ways.append(
                (
                    'compiled instead',
                    ours,
                    [PlainTensors, LossesStay, lambda: CompileIfItPays(least=0.0)],
                    True,
                )
            )
        ways = ways[o.ours_only :]
        for frozen in [b == 'frozen' for b in o.bodies]:
            for name, make, cbs, lists in ways:
                set_seed(0)
                learn = make()
                learn.opt_func, learn.opt = list_adam if lists else learn.opt_func, None
                learn.freeze() if frozen else learn.unfreeze()
                took, cbs = [], [c() for c in cbs]
                learn.add_cb(ScaledHalf()) if lists else learn.to_fp16()
                with learn.no_bar(), learn.no_logging():
                    learn.fit(4 if len(cbs) > 1 else 3, 1e-3, cbs=[*cbs, clock(took, [])])
                n = len(learn.dls.train) * learn.dls.train.bs
                rate = n / min(took[1:])
                said = '; '.join(c.said for c in cbs if getattr(c, 'said', ''))
                if make is ours and not cbs and not lists:
                    flops, moved = traffic(learn)
                rows.append(
                    dict(
                        body='frozen' if frozen else 'trained',
                        way=name,
                        images_per_second=round(rate, 1),
                        step_ms=round(1000 * learn.dls.train.bs / rate, 2),
                        said=said,
                    )
                )
                print(rows[-1], flush=True)
                last = learn
            for r in rows[-len(ways) :]:
                r.update(
                    times_faster_than_the_first=round(
                        r['images_per_second'] / rows[-len(ways)]['images_per_second'], 2
                    ),
                    gflop_per_image=round(flops / 1e9, 2),
                    mb_per_image=round(moved / 1e6, 1),
                    limit_arithmetic=round(operations / flops),
                    limit_memory=round(copy / moved),
                    limit=round(min(operations / flops, copy / moved)),
                    share_of_limit=round(
                        r['images_per_second'] / min(operations / flops, copy / moved), 3
                    ),
                )
            if frozen:
                profile(last)
    f = pd.DataFrame(rows).assign(
        arch=o.arch,
        size=o.size,
        bs=o.bs,
        tflops=round(operations / 1e12),
        tb_per_second=round(copy / 1e12, 2),
        device=torch.cuda.get_device_name(),
        cores=os.cpu_count(),
        torch=versions()['torch'],
        command=shown,
    )
    f.to_csv(o.out, index=False, lineterminator='\n')
    print(f.drop(columns='command').to_string())


def profile(learn):
    "Where the GPU's time goes in a step; for whoever looks at the log."
    import torch

    x, y = learn.dls.one_batch()
    x, y = x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)
    m = learn.model.train()

    def step():
        with torch.autocast('cuda', torch.float16):
            torch.nn.functional.cross_entropy(m(x).float(), y).backward()

    [step() for _ in range(3)]
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as p:
        [step() for _ in range(5)]
        torch.cuda.synchronize()
    print(
        p.key_averages().table(
            sort_by='self_cuda_time_total', row_limit=22, max_name_column_width=70
        )
    )
    m.zero_grad()


def networks():
    import torch

    from leukocls.core.machine import set_seed, untried, versions
    from leukocls.data.splits import split_table
    from leukocls.data.table import read_table
    from leukocls.models.backbones import count_parameters
    from leukocls.train.network import ScaledHalf, list_adam, prepare_fit, speed_callbacks
    from leukocls.train.recipes import recipes_named

    t = split_table(read_table(o.data), 'random', 0.2, 0)
    device = torch.device('cuda')
    rows = []
    for recipe in recipes_named(o.systems, weights='none'):
        if recipe.kind != 'network' or 'converges' in recipe.name:
            continue
        began = time.perf_counter()
        set_seed(0)
        torch.cuda.reset_peak_memory_stats()
        took, looked = [], []
        with untried():
            learn = prepare_fit(recipe, t, device)[0]
            adam = recipe.opt == 'adam'
            learn.add_cb(ScaledHalf()) if adam else learn.to_fp16()
            learn.opt_func, learn.opt = list_adam if adam else learn.opt_func, None
            cbs = speed_callbacks(device)
            with learn.no_bar(), learn.no_logging():
                learn.fit(4, 1e-4, cbs=[*cbs, clock(took, looked)])
        n, valid = len(learn.dls.train) * learn.dls.train.bs, (t.split == 'valid').sum()
        rate = n / min(took[2:])
        rows.append(
            dict(
                recipe=recipe.name,
                title=recipe.title,
                size=recipe.size,
                bs=learn.dls.train.bs,
                augment=recipe.augment,
                parameters=count_parameters(learn.model)['total'],
                train_images_per_second=round(rate),
                validation_images_per_second=round(valid / min(looked[2:])),
                recipe_epochs=recipe.head_epochs + recipe.epochs,
                seconds_of_all_epochs_on_2604_images=round(
                    (recipe.head_epochs + recipe.epochs) * 2604 / rate, 1
                ),
                peak_gb=round(torch.cuda.max_memory_allocated() / 1e9, 1),
                steps='; '.join(c.said for c in cbs if getattr(c, 'said', '')),
                seconds_here=round(time.perf_counter() - began, 1),
                images=Path(o.data).name,
                precision='fp16',
                device=torch.cuda.get_device_name(),
                cores=os.cpu_count(),
                torch=versions()['torch'],
                command=shown,
            )
        )
        print(
            {k: v for k, v in rows[-1].items() if k not in ('command', 'device', 'torch')},
            flush=True,
        )
        pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
        del learn
        torch.cuda.empty_cache()


dict(step=steps, run=compare, networks=networks)[o.part]()
