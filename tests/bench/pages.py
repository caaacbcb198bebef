"""What handing memory back to the system costs: training steps in bfloat16 where the CPU has it,
with and without `pages_kept`; median of three, in turns.

python tests/bench/pages.py --out results/pages.csv
"""

import argparse
import os
import resource
import statistics
import time
from contextlib import nullcontext

import pandas as pd
import timm
import torch
from said import command

from leukocls.core.machine import cpu_has_bf16, pages_kept, versions

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
ap.add_argument('--arch', nargs='+', default=['mobilenetv2_100', 'efficientnet_b3', 'resnet50'])
ap.add_argument('--bs', type=int, default=32)
ap.add_argument('--steps', type=int, default=3)
a = ap.parse_args()


def step_of(arch):
    "A training step of all weights on one batch."
    torch.manual_seed(0)
    m = timm.create_model(arch, num_classes=4).train().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(m.parameters())
    y = torch.randint(0, 4, (a.bs,))
    x = torch.randn(a.bs, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    def step():
        with torch.autocast('cpu', torch.bfloat16, enabled=cpu_has_bf16()):
            out = m(x)
        torch.nn.functional.cross_entropy(out.float(), y).backward()
        opt.step()
        opt.zero_grad()

    return step


def measured(step, context):
    """Seconds, seconds in the system and page faults of a step; the first step of a turn is not
    counted.
    """
    with context():
        step()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(a.steps):
            step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        return [
            (time.perf_counter() - began) / a.steps,
            (after.ru_stime - before.ru_stime) / a.steps,
            (after.ru_minflt - before.ru_minflt) / a.steps,
        ]


rows = []
for arch in a.arch:
    step = step_of(arch)
    step()
    turns = [[measured(step, c) for c in (nullcontext, pages_kept)] for _ in range(3)]
    for name, side in (('as the C library does it', 0), ('pages_kept', 1)):
        took, system, faults = (statistics.median(t[side][k] for t in turns) for k in range(3))
        plain = statistics.median(t[0][0] for t in turns)
        rows.append(
            dict(
                arch=arch,
                memory=name,
                images_per_second=round(a.bs / took, 1),
                ratio=round(plain / took, 2),
                seconds_a_step=round(took, 3),
                system_seconds_a_step=round(system, 3),
                page_faults_a_step=round(faults),
                size=224,
                bs=a.bs,
                cores=os.cpu_count(),
                torch=versions()['torch'],
                command=command(),
            )
        )
pd.DataFrame(rows).to_csv(a.out, index=False, lineterminator='\n')
print(pd.DataFrame(rows).drop(columns='command').to_string())
