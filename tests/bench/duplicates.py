"""What near-duplicate detection finds and what it misses, on copies of real images made here; and
how its time grows.

python tests/bench/duplicates.py --data FOLDER [--data FOLDER …] --out results/duplicates.csv python
tests/bench/duplicates.py --grow FOLDER --out results/duplicates-time.csv
"""

import argparse
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps

os.environ['LEUKOCLS_CACHE'] = 'off'
from leukocls.data.duplicates import groups_in, joined, near_duplicates
from leukocls.data.films import draw_films
from leukocls.data.survey import look


def jpeg(im, quality):
    b = io.BytesIO()
    im.save(b, 'JPEG', quality=quality)
    return Image.open(io.BytesIO(b.getvalue())).convert('RGB')


def values(f):
    return lambda im, r: Image.fromarray(
        np.clip(f(np.asarray(im).astype('float32'), r), 0, 255).astype('uint8')
    )


def affine(im, turn=0.0, scale=1.0, shift=(0, 0), shear=0.0):
    "As imgaug and Keras do it: black where nothing is known."
    w, h = im.size
    c = np.array([w / 2, h / 2])
    a = np.deg2rad(turn)
    A = (
        np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        @ np.array([[1, np.tan(np.deg2rad(shear))], [0, 1]])
        / scale
    )
    t = c - A @ (c + np.array(shift) * [w, h])
    return im.transform(im.size, Image.AFFINE, (*A[0], t[0], *A[1], t[1]), Image.BILINEAR)


def cut(im, r, share):
    w, h = int((1 - share) * im.width), int((1 - share) * im.height)
    x, y = int(r.uniform(0, im.width - w)), int(r.uniform(0, im.height - h))
    return im.crop((x, y, x + w, y + h))


def p2_light(im, r):
    "P2's augmentation without its affine part: flip, blur, contrast, noise, multiply."
    if r.random() < 0.5:
        im = ImageOps.mirror(im)
    if r.random() < 0.5:
        im = im.filter(ImageFilter.GaussianBlur(r.uniform(0, 0.5)))
    a = (np.asarray(im).astype('float32') - 128) * r.uniform(0.75, 1.5) + 128
    s = r.uniform(0, 0.05 * 255)
    a = a + (
        r.normal(0, s, a.shape) if r.random() < 0.5 else r.normal(0, s, a.shape[:2])[..., None]
    )
    return Image.fromarray(
        np.clip(
            a * (r.uniform(0.8, 1.2, 3) if r.random() < 0.2 else r.uniform(0.8, 1.2)), 0, 255
        ).astype('uint8')
    )


def mild(im, r):
    return affine(
        im, r.uniform(-15, 15), r.uniform(0.9, 1.1), r.uniform(-0.1, 0.1, 2), r.uniform(-5, 5)
    )


COPIES = {
    'saved as JPEG, quality 30': lambda im, r: jpeg(im, 30),
    'half the size': lambda im, r: im.resize((im.width // 2, im.height // 2), Image.BILINEAR),
    'brightness x 0.7-1.3, ± 20': values(lambda a, r: a * r.uniform(0.7, 1.3) + r.uniform(-20, 20)),
    'each channel x 0.8-1.2': values(lambda a, r: a * r.uniform(0.8, 1.2, 3)),
    'blurred, 2 px': lambda im, r: im.filter(ImageFilter.GaussianBlur(2)),
    'noise, 12 grey levels': values(lambda a, r: a + r.normal(0, 12, a.shape)),
    'mirrored': lambda im, r: ImageOps.mirror(im),
    'turned by 90°': lambda im, r: im.transpose(Image.ROTATE_90),
    'turned by up to 15°': lambda im, r: affine(im, r.uniform(-15, 15)),
    'shifted by up to 10 %': lambda im, r: affine(im, shift=r.uniform(-0.1, 0.1, 2)),
    'scaled by up to 15 %': lambda im, r: affine(im, scale=r.uniform(0.85, 1.15)),
    'cut by 10 %': lambda im, r: cut(im, r, 0.1),
    'cut by 20 %': lambda im, r: cut(im, r, 0.2),
    'turned, scaled, shifted, sheared': mild,
    "P2's augmentation, mild affine": lambda im, r: mild(p2_light(im, r), r),
    "P2's augmentation, strong affine (25°, 20 %, 20 %, 8°)": lambda im, r: affine(
        p2_light(im, r),
        r.uniform(-25, 25),
        r.uniform(0.8, 1.2),
        r.uniform(-0.2, 0.2, 2),
        r.uniform(-8, 8),
    ),
}
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def curve(data, n, seed, command):
    """One kind of copy at a time is put among all images; what of it is found, and what is called a
    pair that is none.
    """
    paths = sorted(
        str(p)
        for p in Path(data).rglob('*')
        if p.suffix.lower() in ('.jpg', '.jpeg', '.png', '.bmp')
    )
    r = np.random.default_rng(seed)
    pick = r.permutation(len(paths))[:n]
    label = np.array([Path(p).parent.name for p in paths])
    own = near_duplicates(paths, similarity=0.5)
    rows = []
    for s in LEVELS:
        p = own[own.similarity >= s]
        rows.append(
            dict(
                data=Path(data).name,
                copies='(the images themselves)',
                images=len(paths),
                similarity=s,
                made=0,
                found='',
                false_pairs=int((label[p.i] != label[p.j]).sum()),
                pairs=len(p),
            )
        )
    for name, make in COPIES.items():
        with tempfile.TemporaryDirectory() as d:
            made = []
            for i in pick:
                made.append(f'{d}/{i}.png')
                make(Image.open(paths[i]).convert('RGB'), r).save(made[-1])
            found = near_duplicates([*paths, *made], similarity=0.5)
        for s in LEVELS:
            p = found[found.similarity >= s]
            old = own[own.similarity >= 0.75]
            group = joined(len(paths), old[['i', 'j']].to_numpy())
            new = p[p.j >= len(paths)]
            first = np.where(new.i < len(paths), new.i, pick[np.maximum(new.i - len(paths), 0)])
            origin = pick[new.j - len(paths)]
            right = group[first] == group[origin]
            rows.append(
                dict(
                    data=Path(data).name,
                    copies=name,
                    images=len(paths),
                    similarity=s,
                    made=n,
                    found=round(len(set(origin[right & (new.i < len(paths))])) / n, 4),
                    false_pairs=int((~right).sum()),
                    pairs=len(new),
                )
            )
        print(
            data,
            name,
            [
                f"{q['similarity']}: {q['found']}, {q['false_pairs']} false"
                for q in rows[-len(LEVELS) :]
                if q['similarity'] in (0.65, 0.75, 0.85)
            ],
            flush=True,
        )
    return [{**q, 'command': command} for q in rows]


def quarters(folder, out, n):
    "n different images: quarters of real images, made 224 pixels large, then drawn films."
    i = 0
    for p in sorted(
        q for q in Path(folder).rglob('*') if q.suffix.lower() in ('.jpg', '.bmp', '.png')
    ):
        im = Image.open(p).convert('RGB')
        w, h = im.width // 2, im.height // 2
        for x in (0, w):
            for y in (0, h):
                if i < n:
                    im.crop((x, y, x + w, y + h)).resize((224, 224), Image.BILINEAR).save(
                        out / f'{i:06}.jpg', quality=92
                    )
                    i += 1
    if i < n:
        draw_films(out / 'films', 12, -(-(n - i) // 48), size=224)


def grow(folder, sizes, command):
    rows = []
    with tempfile.TemporaryDirectory() as d:
        quarters(folder, Path(d), max(sizes))
        every = sorted(str(p) for p in Path(d).rglob('*.[jp][pn]g'))[: max(sizes)]
        for n in sizes:
            some = [every[i] for i in np.random.default_rng(0).permutation(len(every))[:n]]
            look(some[:8])
            t = time.perf_counter()
            looks = look(some)
            seen = time.perf_counter() - t
            pairs = near_duplicates(some, looks)
            took = time.perf_counter() - t
            groups = groups_in(joined(n, pairs[['i', 'j']].to_numpy()))
            rows.append(
                dict(
                    images=n,
                    seconds=round(took, 1),
                    of_which_reading=round(seen, 1),
                    pairs=len(pairs),
                    groups=len(groups),
                    ratio_to_first=round(took / rows[0]['seconds'], 1) if rows else 1.0,
                    cores=os.cpu_count(),
                    command=command,
                )
            )
            print(rows[-1], flush=True)
    return rows


if __name__ == '__main__':
    a = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    a.add_argument('--data', action='append', default=[])
    a.add_argument('--grow')
    a.add_argument('--out', required=True)
    a.add_argument('--copies', type=int, default=200)
    a.add_argument('--sizes', type=int, nargs='+', default=[1700, 17000])
    a.add_argument('--seed', type=int, default=1)
    o = a.parse_args()
    shown = ' '.join(
        [
            'python tests/bench/duplicates.py',
            *(f'--data {Path(d).name}' for d in o.data),
            *([f'--grow {Path(o.grow).name}'] if o.grow else []),
            f'--out {o.out}',
        ]
    )
    rows = (
        grow(o.grow, o.sizes, shown)
        if o.grow
        else [q for d in o.data for q in curve(d, o.copies, o.seed, shown)]
    )
    pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
    print(o.out, file=sys.stderr)
