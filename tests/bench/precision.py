"""What to compute in on this CPU: training steps of MobileNetV2 in float32 and bfloat16, both
memory layouts; median of three, in turns.

python tests/bench/precision.py --out results/precision.csv
"""

import argparse
import os
import statistics
import time
from contextlib import nullcontext

import pandas as pd
import timm
import torch
from said import command

from leukocls.core.machine import cpu_has_bf16, versions

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
ap.add_argument('--arch', default='mobilenetv2_100')
ap.add_argument('--bs', type=int, default=32)
a = ap.parse_args()
x, y = torch.randn(a.bs, 3, 224, 224), torch.randint(0, 4, (a.bs,))


def make(bf16, last):
    torch.manual_seed(0)
    m = timm.create_model(a.arch, num_classes=4).train()
    opt = torch.optim.AdamW(m.parameters())
    xs = x
    if last:
        m, xs = (
            m.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )

    def step():
        with torch.autocast('cpu', torch.bfloat16) if bf16 else nullcontext():
            out = m(xs)
        torch.nn.functional.cross_entropy(out.float(), y).backward()
        opt.step()
        opt.zero_grad()

    return step


cases = {(bf16, last): make(bf16, last) for bf16 in (False, True) for last in (False, True)}
took = {k: [] for k in cases}
for turn in range(4):
    for k, step in cases.items():
        began = time.perf_counter()
        for _ in range(3):
            step()
        if turn:
            took[k].append((time.perf_counter() - began) / 3)
base = statistics.median(took[False, False])
rows = [
    dict(
        arch=a.arch,
        precision='bf16' if bf16 else 'fp32',
        layout='channels_last' if last else 'contiguous',
        images_per_second=round(a.bs / statistics.median(t), 1),
        ratio_to_plain=round(base / statistics.median(t), 2),
        size=224,
        bs=a.bs,
        cores=os.cpu_count(),
        cpu_has_bf16=cpu_has_bf16(),
        torch=versions()['torch'],
        command=command(),
    )
    for (bf16, last), t in took.items()
]
pd.DataFrame(rows).to_csv(a.out, index=False)
print(
    pd.DataFrame(rows)[['precision', 'layout', 'images_per_second', 'ratio_to_plain']].to_string()
)
