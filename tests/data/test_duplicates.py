"Near-duplicates: what must be found, what must not, and that nothing but the pictures decides."

import io

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

import leukocls.data.duplicates as duplicates
import leukocls.data.survey as survey
from leukocls.core.errors import DataError
from leukocls.data.duplicates import describe, groups_in, joined, near_duplicates, nearest
from leukocls.data.films import draw_film, draw_patient
from leukocls.data.registration import SIDE, Prepared, maps, same_picture, something, standard, warp
from leukocls.data.survey import FACTS, look_at


def textured(seed, size=192):
    """A field of many cells with grain: what real smears are, and drawn films, which hold one cell,
    are not.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    a = np.full((size, size, 3), (228, 214, 224), float) + rng.normal(0, 2, (size, size, 1))
    for _ in range(30):
        cy, cx, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(6, 16)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < r * r
        a[inside] = rng.uniform((70, 30, 110), (190, 150, 200)) + rng.normal(
            0, 12, (inside.sum(), 1)
        )
    return Image.fromarray(np.clip(a, 0, 255).astype('uint8'))


COPIES = dict(
    jpeg=lambda im: Image.open(io.BytesIO(_jpeg(im, 40))),
    bright=lambda im: ImageEnhance.Brightness(im).enhance(1.12),
    contrast=lambda im: ImageEnhance.Contrast(im).enhance(0.8),
    mirror=ImageOps.mirror,
    flip=ImageOps.flip,
    turn90=lambda im: im.transpose(Image.ROTATE_90),
    turn270=lambda im: im.transpose(Image.ROTATE_270),
    transpose=lambda im: im.transpose(Image.TRANSPOSE),
    turn10=lambda im: im.rotate(10, Image.BILINEAR),
    half=lambda im: im.resize((96, 96), Image.BILINEAR),
    cut=lambda im: im.crop((16, 5, 186, 175)),
    shift=lambda im: im.transform(im.size, Image.AFFINE, (1, 0, 14, 0, 1, -9)),
    blur=lambda im: im.filter(ImageFilter.GaussianBlur(1.5)),
)


def _jpeg(im, q):
    b = io.BytesIO()
    im.save(b, 'JPEG', quality=q)
    return b.getvalue()


@pytest.fixture(scope='module')
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fields')
    paths = [str(folder / f'{i:02}.png') for i in range(40)]
    for i, path in enumerate(paths):
        textured(i).save(path)
    return paths


@pytest.mark.parametrize('kind', COPIES)
def test_each_kind_of_copy_is_found(fields, kind, tmp_path):
    some = [0, 7, 21]
    for i in some:
        COPIES[kind](Image.open(fields[i]).convert('RGB')).convert('RGB').save(
            tmp_path / f'{i:02}.png'
        )
    found = near_duplicates([*fields, *(str(tmp_path / f'{i:02}.png') for i in some)])
    assert set(map(tuple, found[['i', 'j']].to_numpy())) == {
        (i, 40 + k) for k, i in enumerate(some)
    }


def test_a_grey_copy_is_proven_once_it_is_a_candidate(fields):
    """Colour is part of the description, so a grey copy may not become a candidate; laid over the
    original it is known at once.
    """
    t = Prepared.of(
        np.stack(
            [
                np.asarray(im.resize((SIDE, SIDE), Image.BOX))
                for p in fields[:3]
                for im in (Image.open(p), Image.open(p).convert('L').convert('RGB'))
            ]
        )
    )
    assert same_picture(t, np.array([0, 2, 4]), t, np.array([1, 3, 5]))[0].min() > 0.8


def test_different_fields_are_not_called_copies(fields):
    assert len(near_duplicates(fields, similarity=0.6)) == 0


def test_identical_files_and_identical_pixels(fields, tmp_path):
    a = tmp_path / 'a.png'
    a.write_bytes(open(fields[3], 'rb').read())
    Image.open(fields[3]).save(tmp_path / 'b.bmp')
    found = near_duplicates([*fields, str(a), str(tmp_path / 'b.bmp')])
    assert (
        set(map(tuple, found[['i', 'j']].to_numpy())) == {(3, 40), (3, 41)}
        and (found.similarity == 1).all()
    )


def test_unreadable_blank_and_few_images(fields, tmp_path):
    (tmp_path / 'empty.png').touch()
    blank = tmp_path / 'blank.png'
    Image.new('RGB', (50, 40), (240, 240, 240)).save(blank)
    other = tmp_path / 'other.png'
    Image.new('RGB', (64, 64), (10, 200, 30)).save(other)
    tiny = tmp_path / 'tiny.png'
    Image.new('RGB', (1, 1)).save(tiny)
    black = tmp_path / 'black.png'
    Image.new('RGB', (64, 64)).save(black)
    assert (
        len(near_duplicates([str(p) for p in (tmp_path / 'empty.png', blank, other, tiny, black)]))
        == 0
    )
    assert (
        len(near_duplicates([])) == 0
        and len(near_duplicates(fields[:1])) == 0
        and len(near_duplicates([*fields[:2], str(tmp_path / 'gone.png')])) == 0
    )


def test_order_and_names_do_not_matter(fields, tmp_path):
    ImageOps.mirror(Image.open(fields[5])).save(tmp_path / 'z.png')
    every = [*fields, str(tmp_path / 'z.png')]
    back = every[::-1]

    def pair(paths):
        return {
            frozenset((paths[i], paths[j]))
            for i, j in near_duplicates(paths)[['i', 'j']].to_numpy()
        }

    assert pair(every) == pair(back) == {frozenset((fields[5], every[-1]))}


def test_what_was_found_is_remembered(fields, monkeypatch):
    first = near_duplicates(fields, similarity=0.5)
    import leukocls.data.duplicates as d

    monkeypatch.setattr(d, '_find_pairs', lambda *_: pytest.fail('compared again'))
    assert near_duplicates(fields, similarity=0.5).equals(first)


def test_similarity_outside_its_range(fields):
    with pytest.raises(DataError, match='Choose a number in that range'):
        near_duplicates(fields, similarity=0.2)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40),
    pairs=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=30),
)
def test_joined_is_the_closure(n, pairs):
    pairs = [(a % n, b % n) for a, b in pairs]
    label = np.arange(n)
    for _ in range(n):
        for a, b in pairs:
            label[[a, b]] = min(label[a], label[b])
    found = joined(n, pairs)
    assert [[a == b for b in found] for a in found] == [[a == b for b in label] for a in label]
    assert sorted(i for g in groups_in(found) for i in g) == [
        i for i in range(n) if (label == label[i]).sum() > 1
    ]


@pytest.mark.parametrize('cells', [1, 20])
def test_nearest_against_all_distances(cells):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 12)) * 4
    P = (centres[rng.integers(0, 30, 2000)] + rng.normal(size=(2000, 12))).astype('float32')
    I, d = nearest(P, P[:300], np.arange(300), 4, cells)
    D = ((P[:300, None] - P[None]) ** 2).sum(-1)
    D[np.arange(300), np.arange(300)] = np.inf
    true = np.sort(D, 1)[:, :4]
    assert (
        np.allclose(np.take_along_axis(D, I, 1), d, atol=1e-2)
        and (I != np.arange(300)[:, None]).all()
    )
    assert np.isclose(d, true, atol=1e-2).mean() > (0.999 if cells == 1 else 0.95)


def test_nearest_where_there_are_too_few():
    P = np.eye(3, dtype='float32')
    I, d = nearest(P, P, np.arange(3), 5)
    assert (I >= 0).sum(1).tolist() == [2, 2, 2] and np.isinf(d[:, 2:]).all()


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-0.4, 0.4), scale=st.floats(0.85, 1.15), mirror=st.booleans())
def test_warp_and_its_inverse(turn, scale, mirror):
    from scipy.ndimage import gaussian_filter

    g = gaussian_filter(np.random.default_rng(0).normal(size=(1, SIDE, SIDE)), (0, 3, 3)).astype(
        'float32'
    )
    A = maps(np.array([turn]), np.array([scale]), mirror)
    L = np.linalg.inv(A[:, :, :2])
    back = np.concatenate([L, np.zeros((1, 2, 1))], 2)
    there, inside = warp(g, A)
    again, inside2 = warp(there, back.astype('float32'))
    keep = inside2 & warp(inside.astype('float32'), back.astype('float32'))[0].__gt__(0.99)
    assert keep.mean() > 0.3 and np.abs(again - g)[keep].max() < 0.25 * g.std() * 4


def test_black_corners_and_black_ground():
    x = np.full((1, 64, 64, 3), 200, 'uint8')
    x[:, :8, :8] = 0
    s = standard(x)
    assert np.allclose(s, 0)  # a corner without content has no contrast
    x[:, :40] = 0
    assert np.abs(standard(x)).max() > 0.5 and something(x).mean() < 0.75


def test_a_single_cell_on_black_is_told_by_its_inside():
    "C-NMC: cells cut out, on black. All are round; the chromatin tells them apart."
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:192, :192]
    made = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        a = (
            np.array([120, 60, 150])
            + 30 * gaussian_filter(rng.normal(size=(192, 192)), 3)[..., None] * 20
        ) * ((y - 96) ** 2 + (x - 96) ** 2 < 55**2)[..., None]
        made.append(Image.fromarray(np.clip(a, 0, 255).astype('uint8')))
    made.append(made[0].rotate(90))
    t = Prepared.of(np.stack([np.asarray(im.resize((SIDE, SIDE), Image.BOX)) for im in made]))
    fit = same_picture(t, np.array([0, 0]), t, np.array([1, 2]))[0]
    assert fit[0] < 0.6 and fit[1] > 0.9


def test_looks_of_odd_files(tmp_path):
    rng = np.random.default_rng(0)
    files = {
        'grey16.png': Image.fromarray(rng.integers(0, 65535, (30, 40)).astype('uint16')),
        'palette.png': (
            Image.fromarray(rng.integers(0, 255, (30, 40, 3)).astype('uint8')).convert('P')
        ),
        'cmyk.jpg': Image.new('CMYK', (40, 30), (10, 80, 20, 0)),
        'one.bmp': Image.new('RGB', (1, 1), (9, 8, 7)),
    }
    for name, im in files.items():
        im.save(tmp_path / name)
    (tmp_path / 'cut.jpg').write_bytes(_jpeg(textured(1), 90)[:900])
    (tmp_path / 'text.png').write_text('no image')
    for name in files:
        facts, thumb = look_at(tmp_path / name)
        assert (
            facts[FACTS.index('error')] == ''
            and thumb.shape == (64, 64, 3)
            and facts[FACTS.index('width')] in (40, 1)
        )
    for name in ('cut.jpg', 'text.png'):
        facts, thumb = look_at(tmp_path / name)
        assert facts[FACTS.index('error')] in ('truncated', 'not an image') and not thumb.any()


def test_describe_ignores_position_and_light():
    im = textured(4, 128)
    base, other = [np.asarray(i.resize((64, 64), Image.BOX)) for i in (im, textured(5, 128))]
    a, b = describe(np.stack([base, other]))
    far = np.linalg.norm(a - b)
    for same in (
        base[::-1],
        base[:, ::-1],
        np.rot90(base),
        np.clip(base * 0.9, 0, 255).astype('uint8'),
    ):
        assert np.linalg.norm(describe(np.ascontiguousarray(same)[None])[0] - a) < far / 4


@pytest.mark.data
def test_taleqani_and_pbc(shared):
    """No pair across classes on Taleqani, none at all among the 800 different cells of the PBC
    sample.
    """
    tal = sorted(map(str, (shared / 'data/taleqani/Original').glob('*/*.jpg')))
    found = near_duplicates(tal)
    label = np.array([p.split('/')[-2] for p in tal])
    assert (
        (label[found.i] == label[found.j]).all()
        and 180 < len(found) < 260
        and (found.similarity == 1).sum() >= 38
    )
    assert (
        len(
            near_duplicates(
                sorted(map(str, (shared / 'data/pbc8_sample').glob('*/*'))), similarity=0.65
            )
        )
        == 0
    )


@pytest.mark.data
def test_single_cells_of_cnmc_are_told_apart(shared):
    assert (
        len(
            near_duplicates(
                sorted(map(str, (shared / 'data/cnmc2019/images').glob('*/*'))), similarity=0.65
            )
        )
        == 0
    )


def test_films_of_one_patient_are_different():
    t = Prepared.of(
        np.stack([np.asarray(draw_film(draw_patient('Pro', 2), i, size=64)) for i in range(6)])
    )
    i, j = np.triu_indices(6, 1)
    assert same_picture(t, i, t, j)[0].max() < 0.75


def test_laying_is_the_same_whichever_picture_is_turned():
    """The twelve positions of `find_position`, tried in the plain way: the second picture turned by `warp`
    each time.
    """
    from leukocls.data.registration import (
        _halves,
        _phases,
        _polar,
        _shift_of,
        find_position,
        grey_of,
        turn_of,
    )

    x = np.stack([np.asarray(textured(k).resize((SIDE, SIDE), Image.BOX)) for k in range(6)])
    g = grey_of(standard(x))
    rng = np.random.default_rng(0)
    first = np.array([0, 0, 1, 1, 2, 2, 3, 4])
    moved = [
        (0.3, 1.05, False, (2, 4)),
        (np.pi / 2, 1, False, (4, 0)),
        (np.pi, 1, True, (0, -6)),
        (-2.5, 0.95, True, (0, 0)),
        (3 * np.pi / 2, 1, True, (-2, 2)),
        (2.0, 1.1, False, (0, 2)),
        (0, 1, False, (0, 0)),
        (np.pi, 1, False, (2, 2)),
    ]
    A = np.concatenate([maps(np.array([t]), np.array([s]), m) for t, s, m, _ in moved])
    A[:, :, 2] = [d for *_, d in moved]
    b = warp(g[first], A)[0] + rng.normal(0, 0.02, (8, 64, 64)).astype('float32')
    b = np.concatenate([b, g[[5, 4]]])
    first = np.r_[first, 0, 1]
    n = len(b)
    ha, hb, Pa, Pb = _halves(g), _halves(b), _polar(g), _polar(b)
    best, want = np.full(n, -1.0), np.zeros((n, 2, 3), 'float32')
    for mirror in (False, True):
        scale, turn = turn_of(Pa[first], np.roll(Pb[:, :, ::-1], 1, axis=2) if mirror else Pb)
        for t, s in [
            *((np.full(n, k * np.pi / 2), np.ones(n)) for k in range(4)),
            (turn, scale),
            (turn + np.pi, scale),
        ]:
            M = maps(t, s, mirror)
            v, d = _shift_of(_phases(ha[first]), _phases(warp(hb, M)[0]))
            M[:, :, 2] = -np.einsum('nij,nj->ni', M[:, :, :2], d)
            up = v > best
            best[up] = v[up]
            want[up] = M[up]
    found, peak = find_position(ha, hb, Pa, Pb, first)
    np.testing.assert_allclose(peak, best, atol=5e-3)
    assert best[:8].min() > best[8:].max()
    np.testing.assert_allclose(found[:8], want[:8], atol=1e-3)


def test_the_middle_of_a_picture_is_what_the_map_for_it_sees():
    from leukocls.data.duplicates import _zoomed

    x = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype='uint8')
    want = warp(x, maps(np.zeros(5), np.full(5, 0.87)))[0]
    assert np.abs(_zoomed(x) - want).max() < 1.01


def test_fast_steps_equal_the_simple_ones():
    "Each step of `align` that is written for speed, against the plain form that its comment names."
    from leukocls.data import registration as align

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (5, SIDE, SIDE, 3), dtype='uint8')
    # A dark channel, so that each of the three decides somewhere
    x[0] //= 24
    np.testing.assert_array_equal(something(x), x.max(-1) >= 10)
    np.testing.assert_array_equal(align._sum_of_bytes(x), x.sum((1, 2), keepdims=True))
    deviation = rng.normal(size=x.shape).astype('float32')
    mean_square = (deviation.astype(float) ** 2).mean((1, 2), keepdims=True)
    np.testing.assert_allclose(align._mean_square(deviation), mean_square, rtol=1e-5)
    polar = rng.normal(size=(5, align._RINGS, align._ANGLES)).astype('float32')
    waves = np.fft.rfft2(polar, s=(2 * align._RINGS, align._ANGLES))
    np.testing.assert_allclose(align._waves(polar), waves, atol=1e-4)
    back = np.fft.irfft2(waves, s=(2 * align._RINGS, align._ANGLES))[:, align._NEAR]
    np.testing.assert_allclose(align._near_correlation(align._waves(polar)), back, atol=1e-5)


@pytest.mark.parametrize('mirror', [False, True])
@pytest.mark.parametrize('k', range(4))
def test_quarter_turns_equal_the_map_for_them(k, mirror):
    from leukocls.data.registration import _quarter

    g = np.random.default_rng(k).normal(size=(2, 32, 32)).astype('float32')
    mapped = warp(g, maps(np.full(2, k * np.pi / 2), np.ones(2), mirror))[0]
    # `warp` reads the last row and column a thousandth of a pixel off
    np.testing.assert_allclose(_quarter(g, k, mirror), mapped, atol=1e-2)


@pytest.mark.parametrize('seed', range(20))
def test_joined_numbers_groups_in_order_of_first_appearance(seed):
    "Sets of any length, the empty ones too: numbers come as the rows come, without gaps."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    sets = [rng.integers(0, n, rng.integers(0, 5)).tolist() for _ in range(rng.integers(0, 30))]
    numbers = joined(n, sets)
    new = np.r_[True, numbers[1:] > np.maximum.accumulate(numbers)[:-1]]
    assert numbers[new].tolist() == list(range(numbers.max() + 1))
    assert all(len(set(numbers[rows])) == 1 for rows in sets if rows)


def test_many_cells_find_what_an_exhaustive_search_finds():
    "Cells of cells, as there are from 330,000 images on; every copy is found."
    rng = np.random.default_rng(0)
    P = rng.normal(size=(6000, 16)).astype('float32') * np.geomspace(30, 2, 16).astype('float32')
    P[5000:] = P[:1000] + rng.normal(size=(1000, 16)).astype('float32')
    own = np.arange(6000)
    exact, near = (nearest(P, P, own, 1, cells)[0][:, 0] for cells in (1, 1200))
    copies = exact[5000:] == own[:1000]
    assert copies.mean() > 0.95 and (near[5000:][copies] == own[:1000][copies]).all()
    assert (exact == near).mean() > 0.8


def test_images_in_parts_give_the_same_pairs(fields, tmp_path, monkeypatch):
    "Looked at, described and compared a few at a time, thumbnails in a file: as a million are."
    for i in (3, 30):
        ImageOps.mirror(Image.open(fields[i])).save(tmp_path / f'{i}.png')
    every = [*fields, *sorted(map(str, tmp_path.iterdir())), str(tmp_path / 'gone.png')]
    whole = survey.look(every)
    pairs = duplicates._find_pairs(every[:42], whole[np.arange(42)], 4, False)
    monkeypatch.setattr(survey, '_MOST_AT_ONCE', 16)
    monkeypatch.setattr(duplicates, '_MOST_PREPARED', 16)
    near_ones = duplicates._near_ones
    monkeypatch.setattr(duplicates, '_near_ones', lambda *args: near_ones(*args, size=16))
    parts = survey.look(every)
    assert isinstance(parts.thumbs, np.memmap) and np.array_equal(parts.thumbs, whole.thumbs)
    assert parts.facts.drop(columns='quality').equals(whole.facts.drop(columns='quality'))
    again = duplicates._find_pairs(every[:42], parts[np.arange(42)], 4, False)
    assert len(pairs) >= 2 and np.allclose(pairs, again)
