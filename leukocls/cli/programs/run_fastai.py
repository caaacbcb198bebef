"""One frozen epoch and its validation, or more epochs of the whole network after it, by plain fastai as
its documentation does it; prints the accuracy.

    python -m leukocls.cli.programs.run_fastai TABLE WEIGHTS SIZE EPOCHS
"""

import sys

import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, vision_learner


def main(table, weights, size, epochs):
    "Train a fastai learner of its own defaults, and print its accuracy."
    frame = pd.read_csv(table)
    frame['is_valid'] = frame.split == 'valid'
    dls = ImageDataLoaders.from_df(
        frame,
        path='/',
        fn_col='path',
        label_col='label',
        valid_col='is_valid',
        item_tfms=Resize(int(size)),
        # a last batch that is not full is left out, so few images need smaller ones
        bs=min(64, len(frame) // 4),
        device='cpu',
    )
    learn = vision_learner(dls, f'local-dir:{weights}', metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        if int(epochs):
            learn.fine_tune(int(epochs))
        else:
            learn.fit_one_cycle(1)
    print(float(learn.recorder.values[-1][-1]))


if __name__ == '__main__':
    main(*sys.argv[1:])
