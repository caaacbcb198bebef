"""A classifier that is none, with the interface of one: quick, without torch, and told by a
picture's colours what to say.
"""

import time
from io import BytesIO
from types import SimpleNamespace

import numpy as np
from PIL import Image

CLASSES = ['Benign', 'Early', 'Pre', 'Pro']


def blob(im, kind='PNG', **how):
    b = BytesIO()
    im.save(b, kind, **how)
    return b.getvalue()


def plain(*rgb, size=(40, 30)):
    return Image.new('RGB', size, rgb)


class Fake:
    """Blue pictures are Pro, green ones are unsure, red ones are foreign, yellow ones have a
    warning.
    """

    def __init__(self, name='fake', seconds=0.0, calibrated=True, gate=True, examples=0):
        (
            self.name,
            self.classes,
            self.seconds,
            self.calibrated,
            self.gate,
            self.examples,
            self.seen,
        ) = (
            name,
            CLASSES,
            seconds,
            calibrated,
            gate,
            examples,
            0,
        )
        self.warnings = []
        self.config = dict(
            name=name,
            created='2026-02-01T10:00:00',
            classes=CLASSES,
            data=dict(name='Synthetic films'),
            licence='CC BY 4.0',
            research_only=True,
            metrics=dict(accuracy=dict(value=0.9631, low=0.9412, high=0.9777), n=651, split='test'),
            audit={},
        )

    def many(self, images, names=None):
        return [self(im) for im in images]

    def __call__(self, image, name=''):
        assert isinstance(image, Image.Image) and image.mode == 'RGB' and not image.info
        self.seen += 1
        time.sleep(self.seconds)
        r, g, b = (v / 255 for v in image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
        foreign, unsure = (
            self.gate and r > 0.6 and g < 0.4 and b < 0.4,
            g > 0.6 and r < 0.5 and b < 0.5,
        )
        p = dict(
            zip(
                CLASSES,
                (0.004, 0.31, 0.326, 0.36) if unsure or foreign else (0.0001, 0.012, 0.0159, 0.972),
            )
        )
        said = dict(
            name=name,
            label='Pro',
            probabilities=p,
            classes=(
                None
                if not self.calibrated
                else []
                if foreign
                else ['Pre', 'Pro']
                if unsure
                else ['Pro']
            ),
            refer=bool(foreign or unsure),
            why=(
                'Its colours lie far from those of the training images.'
                if foreign
                else 'Two classes cannot be told apart here.'
                if unsure
                else ''
            ),
            in_domain=None if not self.gate else not foreign,
            warnings=(
                ['A little darker than the training images.']
                if r > 0.6 and g > 0.6 and b < 0.4
                else []
            ),
            error='',
        )
        return SimpleNamespace(**said, to_dict=lambda: dict(said, path='/not/for/others'))

    def patient(self, predictions):
        "As the real one pools them."
        from leukocls.deploy.classifier import Prediction, answer_person

        fields = 'name label probabilities classes refer why in_domain warnings error'.split()
        plain_ones = [Prediction(**{k: getattr(p, k) for k in fields}) for p in predictions]
        return answer_person(self, plain_ones)

    def heat(self, image, label=None):
        time.sleep(10 * self.seconds)
        y, x = np.mgrid[-1:1:70j, -1:1:70j]
        return np.exp(-4 * ((x - 0.2) ** 2 + (y + 0.1) ** 2))

    def nearest(self, image, k=5):
        return [
            dict(
                label=CLASSES[i % 4],
                similarity=0.98 - 0.05 * i,
                jpeg=blob(plain(120, 60, 40 * i + 60, size=(64, 64)), 'JPEG'),
            )
            for i in range(min(k, self.examples))
        ]


class OfCells(Fake):
    """A fake that learned from pictures of single cells. It names a cell by the grey of its picture:
    each quarter of the usual range is a class; the darkest are unsure, the palest are refused.
    """

    def __init__(self, name='of cells', learned='cells', **how):
        super().__init__(name, **how)
        counts = dict(fields=12, single=0) if learned == 'fields' else dict(fields=1, single=11)
        cells = dict(looked_at=12, diameter=80, side=160, micrometres=22.0, **counts)
        self.config = dict(self.config, data=dict(name='Synthetic films', cells=cells))

    def __call__(self, image, name=''):
        grey = float(np.asarray(image.convert('L')).mean())
        place = int(np.clip((grey - 100) // 15, 0, 5))
        pure = [(60, 60, 240), (40, 230, 40), (230, 40, 40)][(place == 0) + 2 * (place == 5)]
        answer = super().__call__(plain(*pure), name)
        if 0 < place < 5:
            p = {c: 0.91 if i == place - 1 else 0.03 for i, c in enumerate(CLASSES)}
            answer.label, answer.probabilities = CLASSES[place - 1], p
            answer.classes = [answer.label]
        said = {k: v for k, v in vars(answer).items() if k != 'to_dict'}
        answer.to_dict = lambda: said | dict(name=answer.name)
        return answer


def drawn_field(columns=4, rows=3, side=160, seed=5):
    "A field without any clinical meaning: films of one stain side by side, of all classes."
    from dataclasses import replace

    from leukocls.data.films import draw_film, draw_patient

    field = Image.new('RGB', (columns * side, rows * side))
    usual = draw_patient('Early', 1, seed)
    for i in range(columns * rows):
        film = draw_film(replace(usual, label=CLASSES[i % 4], slope=0 * usual.slope), i, side, seed)
        field.paste(film, (side * (i % columns), side * (i // columns)))
    # the border cuts the first cell of each row
    return field.crop((side // 2, 0, *field.size))
