"leukocls' side of gpu.py in a process of its own: python gpu_ours.py '{…}', figures as JSON."

import json
import sys

from leukocls import train_all
from leukocls.train.recipes import protocol

asked = json.loads(sys.argv[1])
run = train_all(
    asked['data'],
    'effb3',
    arch=asked['arch'],
    weights=asked['weights'],
    size=asked['size'],
    bs=asked['bs'],
    epochs=asked['epochs'],
    out=asked['out'],
    progress=False,
    **protocol('effb3'),
)[0]
figures = dict(
    accuracy=run.metrics['accuracy']['value'],
    seconds=run.info['seconds'],
    epoch=float(run.history.seconds.iloc[1:].median()),
    n=run.info['data']['sides']['train'],
    steps=run.info['steps'],
    report=(run.folder / 'report.html').stat().st_mtime,
)
print('RESULT', json.dumps(figures))
