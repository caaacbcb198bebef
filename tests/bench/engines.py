"""Does every engine say what fastai says? A probe trained on 80 % of Taleqani, all its images, against fastai's own get_preds.

    python tests/bench/engines.py --weights WEIGHTS --data taleqani/Original --out results/engines.csv
"""
import argparse
import tempfile

import numpy as np
import pandas as pd
from leukocls.predict import Predictor, by_fastai, predict_images
from leukocls.train import train_all

ap = argparse.ArgumentParser(); ap.add_argument('--weights', required=True); ap.add_argument('--data', required=True); ap.add_argument('--out', required=True); a = ap.parse_args()
with tempfile.TemporaryDirectory() as d:
    run = train_all(a.data, 'probe', weights=a.weights, valid_pct=0, seed=0, out=d, progress=False)[0]; learn, paths = run.learner, list(run.table.path)
    want = np.concatenate([by_fastai(learn, paths[i:i + 256]) for i in range(0, len(paths), 256)]); two = np.sort(want, 1); close = two[:, -1] - two[:, -2] < .02; rows = []
    for engine in ('torch', 'openvino', 'onnxruntime', 'torch-bf16', 'openvino-bf16'):
        p = predict_images(learn, paths, engine=engine).filter(like='p_').to_numpy(); other = p.argmax(1) != want.argmax(1)
        rows.append(dict(engine=engine, images=len(paths), largest_probability_difference=float(f'{np.abs(p - want).max():.3g}'), other_labels=int(other.sum()), other_labels_that_were_not_close=int((other & ~close).sum()), close_calls=int(close.sum()), used_by_default=not engine.endswith('16'), command='python tests/bench/engines.py'))
pd.DataFrame(rows).to_csv(a.out, index=False); print(pd.DataFrame(rows).drop(columns='command').to_string())
