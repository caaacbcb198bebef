"fastai's side of gpu.py, the lines of study P4: python gpu_fastai.py '{…}', figures as JSON."

import json
import sys
import time
from pathlib import Path

import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, error_rate, vision_learner

asked = json.loads(sys.argv[1])
frame = pd.read_csv(asked['csv'])
began = time.time()
dls = ImageDataLoaders.from_df(
    frame,
    path='/',
    fn_col='path',
    label_col='label',
    valid_col='is_valid',
    item_tfms=Resize(asked['size']),
    bs=asked['bs'],
    **asked['loading'],
)
learn = vision_learner(
    dls, f'local-dir:{asked["weights"]}', metrics=[accuracy, error_rate]
).to_fp16()
with learn.no_bar():
    learn.fit_one_cycle(asked['epochs'], lr_max=slice(1e-2, 1e-1))
fitted = time.time()
p, y = learn.get_preds()
learn.path = Path(asked['out'])
learn.export('leukemia_model.pkl')
figures = dict(
    accuracy=float((p.argmax(1) == y).float().mean()),
    epoch=(fitted - began) / asked['epochs'],
    n=int((~frame.is_valid).sum()),
)
print('RESULT', json.dumps(figures))
