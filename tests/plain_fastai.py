"""A user of plain fastai on another machine: leukocls cannot be imported here. For every line of
standard input ([pickle, image files] as JSON) a process of its own, forked from this one, opens
the pickle and says what it sees.
"""

import json
import os
import sys
import traceback

sys.modules['leukocls'] = None
from fastai.learner import load_learner  # noqa: E402 (after leukocls was hidden)


def answers(pkl, files):
    learn = load_learner(pkl)
    predictions = [learn.predict(f) for f in files]
    return [[str(label), [float(v) for v in p]] for label, _, p in predictions]


for line in sys.stdin:
    if os.fork():
        os.wait()
        print('\nDONE', flush=True)
        continue
    try:
        print('\nSAID ' + json.dumps(answers(*json.loads(line))), flush=True)
    except BaseException:
        print(traceback.format_exc(), flush=True)
    os._exit(0)
