"""How many foreign pictures a gate refuses, kind by kind, and how many genuine ones: gates of the
library's own default settings, fitted on two fifths of a data set, threshold from two fifths,
counted on one fifth; near-duplicates stay together. Settled on Taleqani's original pictures with
seed 0.

    python tests/bench/gate.py \\
        --data taleqani=DATA/taleqani/Original segmented=DATA/taleqani/Segmented pbc=DATA/pbc8_sample \\
        --only cnmc=DATA/cnmc2019/images --photo DATA/photos/cat.jpg --out results/gate.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter
from said import command

from leukocls.data.films import draw_films
from leukocls.data.images import open_cell
from leukocls.data.splits import near_groups
from leukocls.data.survey import lighter_part, look
from leukocls.data.table import read_table


def picture(a):
    return Image.fromarray(np.clip(a, 0, 255).astype('uint8'))


def array(im):
    return np.asarray(im.convert('RGB'), float)


def resized(im, w, h):
    return im.resize((w, h), Image.Resampling.BICUBIC)


# Pictures that show no blood: each is made from a random generator and a side in pixels


def noise(rng, s, smooth=0, grey=False, gauss=False):
    shape = (s, s, 1 if grey else 3)
    a = (
        rng.normal(rng.uniform(60, 200), rng.uniform(15, 70), shape)
        if gauss
        else rng.uniform(0, 256, shape)
    )
    im = picture(np.broadcast_to(a, (s, s, 3)))
    return (
        picture((array(im.filter(ImageFilter.GaussianBlur(smooth))) - 127) * smooth * 2 + 127)
        if smooth
        else im
    )


def gradient(rng, s):
    a, b = rng.uniform(0, 255, (2, 3))
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : s * 1j, -1 : 1 : s * 1j]
    t = (
        (np.cos(turn) * y + np.sin(turn) * x) / 2.83 + 0.5
        if rng.random() < 0.7
        else np.hypot(y, x) / 1.42
    )
    return picture(a + (b - a) * t[..., None])


def text(rng, s, back=None):
    back = back or tuple(int(v) for v in rng.choice([[255] * 3, [30] * 3, [245, 240, 220]]))
    im = Image.new('RGB', (s, s), back)
    d = ImageDraw.Draw(im)
    ink = (0, 0, 0) if sum(back) > 380 else (235,) * 3
    words = (
        'patient blood count leukaemia report 2024 haemoglobin g/dl platelets result normal range'
        ' page total sample id'.split()
    )
    size = int(rng.integers(s // 24 + 4, s // 8 + 5))
    for y in range(3, s, int(size * 1.4)):
        d.text((4, y), ' '.join(rng.choice(words, 14)), fill=ink, font_size=size)
    return im


def screen(rng, s):
    im = Image.new('RGB', (s, s), (240, 240, 240))
    d = ImageDraw.Draw(im)
    d.rectangle((0, 0, s, s // 9), fill=tuple(rng.integers(0, 120, 3).tolist()))
    d.text((4, 2), 'File  Edit  View', fill=(255,) * 3, font_size=max(8, s // 16))
    for _ in range(int(rng.integers(4, 9))):
        x, y, w, h = (
            (rng.uniform(0, 1, 4) * [s * 0.7, s * 0.8, s * 0.5, s * 0.3]).astype(int).tolist()
        )
        d.rectangle(
            (x, s // 8 + y, x + w + 8, s // 8 + y + h + 6),
            fill=tuple(rng.integers(60, 256, 3).tolist()),
            outline=(90, 90, 90),
        )
        d.text(
            (x + 3, s // 8 + y + 1), 'Results table', fill=(10, 10, 10), font_size=max(8, s // 18)
        )
    return im


def shapes(rng, s):
    im = Image.new('RGB', (s, s), tuple(rng.integers(0, 256, 3).tolist()))
    d = ImageDraw.Draw(im)
    for _ in range(int(rng.integers(3, 12))):
        x, y = (rng.uniform(0, s, 2)).tolist()
        r = rng.uniform(0.04, 0.3) * s
        d.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return im


EMPTY = {
    'noise, uniform, colour': noise,
    'noise, uniform, grey': lambda r, s: noise(r, s, grey=True),
    'noise, Gaussian, colour': lambda r, s: noise(r, s, gauss=True),
    'noise, Gaussian, grey': lambda r, s: noise(r, s, grey=True, gauss=True),
    'noise, smooth, colour': lambda r, s: noise(r, s, float(r.uniform(2, 12))),
    'noise, smooth, grey': lambda r, s: noise(r, s, float(r.uniform(2, 12)), grey=True),
    'blank, any colour': lambda r, s: picture(np.full((s, s, 3), r.uniform(0, 255, 3))),
    'blank, white, grey, black': lambda r, s: picture(
        np.full((s, s, 3), r.choice([255, 250, 128, 200, 60, 0]) + r.normal(0, 1, (s, s, 3)))
    ),
    'gradient': gradient,
    'text': text,
    'screenshot': screen,
    'coloured discs': shapes,
}

# A photograph in many versions


def photo(rng, cat, s, tint=False, like=None):
    w, h = cat.size
    side = int(rng.uniform(0.3, 1) * min(w, h))
    x, y = int(rng.integers(0, w - side + 1)), int(rng.integers(0, h - side + 1))
    im = resized(cat.crop((x, y, x + side, y + side)), s, s).rotate(90 * int(rng.integers(4)))
    a = array(im)
    if tint:
        a = a * rng.uniform(0.4, 1.2, 3)
    if like is not None:
        a = (a - a.mean((0, 1))) / (a.std((0, 1)) + 1e-6) * like.std((0, 1)) + like.mean(
            (0, 1)
        )  # the photograph in the colours of a genuine picture
    return picture(a)


# Genuine pictures made foreign; each is made from a random generator and a picture


def hue(im, by):
    h, s, v = im.convert('HSV').split()
    return Image.merge('HSV', (h.point(lambda o: int(o + by * 256 / 360) % 256), s, v)).convert(
        'RGB'
    )


def scrambled(rng, im):
    a = array(im)
    phase = np.exp(1j * np.angle(np.fft.fft2(rng.normal(size=a.shape[:2]))))
    phase[0, 0] = 1
    return picture(np.fft.ifft2(np.fft.fft2(a, axes=(0, 1)) * phase[..., None], axes=(0, 1)).real)


def shuffled(rng, im):
    a = array(im)
    return picture(rng.permutation(a.reshape(-1, 3)).reshape(a.shape))


def background(rng, im):
    a = array(im)
    thumb = np.asarray(im.resize((64, 64), Image.Resampling.BOX))
    m = lighter_part(thumb[None, ..., 1])[0]
    return picture(thumb[m].mean(0) + rng.normal(0, 2, a.shape))


def enlarged(rng, im, by):
    w, h = im.size
    x, y = (int(rng.uniform(0, o * (1 - 1 / by))) for o in (w, h))
    return resized(im.crop((x, y, x + int(w / by), y + int(h / by))), w, h)


def tiles(im, by):
    w, h = im.size
    a = np.asarray(im.resize((w // by, h // by), Image.Resampling.BOX))
    return Image.fromarray(np.tile(a, (by, by, 1)))


def stained(rng, im, by):
    od = -np.log10(np.clip(array(im), 1, 255) / 255) * np.exp(by * rng.choice([-1, 1], 3))
    return picture(255 * 10**-od)


STAIN = {
    'stain: channels exchanged': lambda r, im: picture(
        array(im)[..., list([(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)][r.integers(5)])]
    ),
    'stain: hue turned by 60 to 300°': lambda r, im: hue(im, r.uniform(60, 300)),
    'stain: hue turned by 30°': lambda r, im: hue(im, 30 * r.choice([-1, 1])),
    'stain: grey-scale': lambda r, im: im.convert('L').convert('RGB'),
    'stain: inverted': lambda r, im: picture(255 - array(im)),
    'stain: optical density of each channel × or ÷ 1.65': lambda r, im: stained(r, im, 0.5),
}
SIZE = {
    'magnification: × 2': lambda r, im: enlarged(r, im, 2),
    'magnification: × 4': lambda r, im: enlarged(r, im, 4),
    'magnification: ÷ 2, in tiles': lambda r, im: tiles(im, 2),
    'magnification: ÷ 4, in tiles': lambda r, im: tiles(im, 4),
}
BROKEN = {
    'blank, background of a smear': background,
    'pixels shuffled': shuffled,
    'phases scrambled': scrambled,
    'blurred, 1/20 of the side': lambda r, im: im.filter(ImageFilter.GaussianBlur(im.width / 20)),
    'light × 0.4': lambda r, im: picture(array(im) * 0.4),
    'light × 1.6': lambda r, im: picture(array(im) * 1.6),
}
MILD = {
    'mild: light × 0.9': lambda r, im: picture(array(im) * 0.9),
    'mild: light × 1.1': lambda r, im: picture(array(im) * 1.1),
    'mild: mirrored and turned': (
        lambda r, im: im.transpose(Image.Transpose.ROTATE_90).transpose(
            Image.Transpose.FLIP_LEFT_RIGHT
        )
    ),
    'mild: JPEG of quality 50': None,
    'mild: half as many pixels': lambda r, im: resized(im, im.width // 2, im.height // 2),
    'mild: shifted by 5 %': lambda r, im: Image.fromarray(
        np.pad(np.asarray(im), [(0, im.height // 20), (0, im.width // 20), (0, 0)], mode='reflect')[
            im.height // 20 :, im.width // 20 :
        ]
    ),
}


def looked(images, quality=None):
    "Through files, as a user's pictures come."
    with tempfile.TemporaryDirectory() as d:
        for i, im in enumerate(images):
            (
                im.save(f'{d}/{i:04}.jpg', quality=quality)
                if quality
                else im.save(f'{d}/{i:04}.png', compress_level=1)
            )
        return look(sorted(Path(d).glob('*.*')))


def foreign(paths, cat, seed, n):
    "Kind → Looks of about n pictures."
    rng = np.random.default_rng(seed)
    some = [open_cell(p) for p in rng.permutation(paths)[:n]]
    side = some[0].width
    out = {kind: looked([f(rng, side) for _ in range(n)]) for kind, f in EMPTY.items()}
    out['photograph'] = looked([cat] + [photo(rng, cat, side) for _ in range(n - 1)])
    out['photograph, tinted'] = looked([photo(rng, cat, side, True) for _ in range(n)])
    out['photograph in the colours of a smear'] = looked(
        [photo(rng, cat, side, like=array(im)) for im in some]
    )
    for kind, f in (STAIN | SIZE | BROKEN | MILD).items():
        out[kind] = looked([f(rng, im) for im in some]) if f else looked(some, 50)
    return out


def thirds(table, seed, shares=(0.4, 0.8)):
    "Rows to fit on, for the threshold, to count on: whole groups."
    rng = np.random.default_rng(seed)
    group = table.group.to_numpy()
    order = rng.permutation(np.unique(group))
    place = np.cumsum(pd.Series(group).value_counts()[order].to_numpy()) / len(table)
    side = dict(zip(order, np.searchsorted(shares, place)))
    return [np.flatnonzero([side[g] == s for g in group]) for s in range(3)]


def main():
    from leukocls.measure.domain import fit_gate
    from leukocls.measure.metrics import wilson

    ap = argparse.ArgumentParser()
    add = ap.add_argument
    add('--data', nargs='+', required=True)
    add('--only', nargs='*', default=[])
    add('--photo', required=True)
    add('--out', required=True)
    add('--seeds', type=int, default=3)
    add('--n', type=int, default=60)
    a = ap.parse_args()
    data = {k: near_groups(read_table(p)) for k, p in (o.split('=') for o in a.data)}
    looks = {k: look(t.path) for k, t in data.items()}
    cat = open_cell(a.photo)
    looks |= {k: look(read_table(p).path) for k, p in (o.split('=') for o in a.only)}
    with tempfile.TemporaryDirectory() as d:
        looks['drawn films'] = look(sorted(draw_films(d, 10, 3).glob('*/*')))
    rows = []
    for name, table in data.items():
        for seed in range(a.seeds):
            fit, hold, count = thirds(table, seed)
            gate = fit_gate(looks[name][fit], looks[name][hold], seed=seed)
            judged = {
                'genuine': looks[name][count],
                **{f'data: {k}': v for k, v in looks.items() if k != name},
                **foreign(table.path.to_numpy(str)[count], cat, seed, a.n),
            }
            for kind, v in judged.items():
                t = gate(v)
                r = t.in_domain.to_numpy() == False
                rows.append(
                    dict(
                        gate=name,
                        seed=seed,
                        settled=name == 'taleqani' and seed == 0,
                        kind=kind,
                        n=len(r),
                        refused=int(r.sum()),
                        reason=t.reason[r].mode().get(0, ''),
                    )
                )
            print(name, seed, rows[-len(judged)], flush=True)
    t = pd.DataFrame(rows)
    low, high = wilson(t.refused, t.n)
    t = t.assign(
        share=(t.refused / t.n).round(4),
        low=np.round(low, 4),
        high=np.round(high, 4),
        command=command(),
    )
    t.to_csv(a.out, index=False, lineterminator='\n')
    print(t.groupby(['kind', 'gate'], sort=False).share.mean().unstack().round(3).to_string())


if __name__ == '__main__':
    main()
