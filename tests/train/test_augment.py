"P2's augmentation against its description: shares, ranges, each operation by an oracle, training images only."

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastai.vision.core import TensorImage
from safetensors.torch import save_file
from scipy import ndimage, stats

from leukocls.core.errors import RunError
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.models.backbones import cell_learner
from leukocls.models.predictor import predict_images
from leukocls.runs.experiment import train_all
from leukocls.train.augment import (
    AUGMENTATIONS,
    P2_FILLED,
    P2_OPERATIONS,
    STAIN,
    augment_p2,
    augmentation,
    blurred,
    draw_p2,
    moved,
    vary_stain,
)
from leukocls.train.learners import model_facts, rebuild
from leukocls.train.loaders import CellDataLoaders
from leukocls.train.recipes import get_recipe

N = 20_000


@pytest.fixture(scope='module')
def drawn():
    torch.manual_seed(3)
    return draw_p2(N)


def uniform(v, low, high):
    "Inside its range, reaching near both ends, and not distinguishable from a uniform law."
    v = np.asarray(v, float)
    assert (
        low <= v.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < v.max() <= high
    )
    assert stats.kstest(v, 'uniform', (low, high - low)).pvalue > 1e-4


def share(hit, p):
    k = int(hit.sum())
    assert stats.binomtest(k, len(hit), p).pvalue > 1e-4, (k / len(hit), p)


def test_the_paper_to_the_letter():
    o = P2_OPERATIONS
    assert list(o) == ['flip', 'blur', 'contrast', 'noise', 'multiply', 'affine']
    assert (
        o['flip'] == dict(p=0.5)
        and o['blur'] == dict(p=0.5, sigma=(0, 0.5))
        and o['contrast'] == dict(factor=(0.75, 1.5))
        and o['noise'] == dict(scale=(0, 0.05), per_channel=0.5)
        and o['multiply'] == dict(factor=(0.8, 1.2), per_channel=0.2)
    )
    assert (
        set(o['affine']) == {'scale', 'translate', 'rotate', 'shear'}
        and 'states no ranges' in P2_FILLED[0]
        and AUGMENTATIONS['p2'] is o
    )


def test_flip(drawn):
    share(drawn['flip'], 0.5)
    x = torch.rand(N // 100, 1, 4, 4)
    out = augment_p2(x, dict(flip=drawn['flip'][: len(x)]))
    on = drawn['flip'][: len(x)]
    assert torch.equal(out[on], x[on].flip(3)) and torch.equal(out[~on], x[~on])


def test_blur(drawn):
    on = drawn['blur'] > 0
    share(on, 0.5)
    uniform(drawn['blur'][on], 0, 0.5)
    x = torch.rand(40, 3, 24, 20)
    sigma = drawn['blur'][:40]
    out = augment_p2(x, dict(blur=sigma))
    for i in range(40):
        assert np.allclose(
            out[i].numpy(),
            [
                (
                    ndimage.gaussian_filter(
                        c, float(sigma[i]), mode='mirror', truncate=2.4 / max(float(sigma[i]), 0.3)
                    )
                    if sigma[i] > 0
                    else c
                )
                for c in x[i].numpy()
            ],
            atol=2e-3,
        )


def test_contrast(drawn):
    uniform(drawn['contrast'], 0.75, 1.5)
    x = torch.rand(50, 3, 8, 8)
    f = drawn['contrast'][:50, None, None, None]
    assert torch.allclose(
        augment_p2(x, dict(contrast=drawn['contrast'][:50])),
        ((x - 127 / 255) * f + 127 / 255).clamp(0, 1),
        atol=1e-6,
    )


def test_noise(drawn):
    n = drawn['noise']
    uniform(n['scale'], 0, 0.05)
    share(n['own'], 0.5)
    torch.manual_seed(0)
    part = dict(scale=n['scale'][:400], own=n['own'][:400])
    out = augment_p2(torch.full((400, 3, 48, 48), 0.5), dict(noise=part)) - 0.5
    assert (
        torch.allclose(out.std((2, 3)), part['scale'][:, None].expand(-1, 3), atol=3e-3)
        and out.mean().abs() < 1e-3
    )
    same = (out[:, 0] == out[:, 1]).flatten(1).all(1) & (out[:, 0] == out[:, 2]).flatten(1).all(1)
    assert torch.equal(same, ~part['own'])
    z = (out / part['scale'][:, None, None, None])[part['scale'] > 0.01].flatten()[:50_000]
    assert stats.kstest(z.numpy(), 'norm').pvalue > 1e-4
    a = out[part['own'] & (part['scale'] > 0.01)]
    assert abs(np.corrcoef(a[:, 0].flatten(), a[:, 1].flatten())[0, 1]) < 0.01


def test_noise_as_a_gpu_makes_it(drawn):
    """Without a stock of numbers: pictures whose channels get noise of their own stand first, and
    it is as strong and as normal as it should be.
    """
    from leukocls.train.augment import _p2_

    n = drawn['noise']
    order = torch.argsort(n['own'][:400].to(torch.uint8), descending=True, stable=True)
    part = dict(scale=n['scale'][:400][order], own=n['own'][:400][order])
    torch.manual_seed(0)
    out = _p2_(torch.full((400, 3, 48, 48), 0.5), dict(noise=part)) - 0.5
    assert torch.allclose(out.std((2, 3)), part['scale'][:, None].expand(-1, 3), atol=3e-3)
    same = (out[:, 0] == out[:, 1]).flatten(1).all(1) & (out[:, 0] == out[:, 2]).flatten(1).all(1)
    assert torch.equal(same, ~part['own'])
    z = (out / part['scale'][:, None, None, None])[part['scale'] > 0.01].flatten()[:50_000]
    assert stats.kstest(z.numpy(), 'norm').pvalue > 1e-4


def test_noise_is_normal_and_of_its_own():
    """Pictures of a batch share a stock of normal numbers on a CPU: within one it is as if they
    were drawn for it, and no two begin at the same place.
    """
    torch.manual_seed(0)
    x = torch.full((64, 3, 96, 96), 0.5)
    n = dict(scale=torch.full((64,), 0.05), own=torch.ones(64, dtype=torch.bool))
    y = ((augment_p2(x, dict(noise=n)) - 0.5) / 0.05).reshape(64, 3, -1)
    for picture in y[:8]:
        assert (
            stats.kstest(picture.flatten().numpy(), 'norm').pvalue > 1e-4
            and len(picture.unique()) > 0.98 * picture.numel()
        )
        assert (
            np.abs(np.corrcoef(picture) - np.eye(3)).max() < 0.05
            and abs(np.corrcoef(picture[0, 1:], picture[0, :-1])[0, 1]) < 0.05
        )
    heads = torch.cat(
        [y[:, 0, :2], ((augment_p2(x, dict(noise=n)) - 0.5) / 0.05).reshape(64, 3, -1)[:, 0, :2]]
    )
    assert len(heads.unique(dim=0)) == 128  # nor does the next batch


def test_multiply(drawn):
    f = drawn['multiply']
    own = (f != f[:, :1]).any(1)
    share(own, 0.2)
    uniform(f[:, 0], 0.8, 1.2)
    uniform(f[own][:, 1], 0.8, 1.2)
    assert abs(np.corrcoef(f[own].T.numpy())[0, 1]) < 0.06
    x = torch.rand(30, 3, 6, 6)
    assert torch.allclose(
        augment_p2(x, dict(multiply=f[:30])), (x * f[:30, :, None, None]).clamp(0, 1)
    )


def test_affine(drawn):
    a, o = drawn['affine'], P2_OPERATIONS['affine']
    assert abs(np.corrcoef(a['scale'].T.numpy())[0, 1]) < 0.03
    for k in ('scale', 'translate'):
        uniform(a[k][:, 0], *o[k])
        uniform(a[k][:, 1], *o[k])
    for k in ('rotate', 'shear'):
        uniform(a[k], *o[k])


def where(x):
    y, c = np.mgrid[: x.shape[-2], : x.shape[-1]]
    w = x[0].numpy()
    return (
        np.array([(c * w).sum(), (y * w).sum()]) / w.sum() - (np.array(x.shape[-2:][::-1]) - 1) / 2
    )


@pytest.mark.parametrize('seed', range(5))
def test_affine_moves_points_where_it_should(seed):
    "A spot in a dark picture lands where scale, shear, turn and shift send it."
    torch.manual_seed(seed)
    d = draw_p2(16)['affine']
    side = 81
    out = []
    for px, py in ((8.0, -6.0), (-7.0, 9.0)):
        yy, xx = torch.meshgrid(*[torch.arange(side) - 40.0] * 2, indexing='ij')
        x = torch.exp(-((xx - px) ** 2 + (yy - py) ** 2) / 8).expand(16, 1, side, side)
        y = moved(x, d)
        for i in range(16):
            t, h = np.deg2rad(float(d['rotate'][i])), np.deg2rad(float(d['shear'][i]))
            m = np.array([[np.cos(t), -np.sin(t + h)], [np.sin(t), np.cos(t + h)]]) @ np.diag(
                d['scale'][i].numpy()
            )
            want = m @ [px, py] + side * d['translate'][i].numpy()
            if np.abs(want).max() < 28:
                out.append(np.abs(where(y[i]) - want).max())
    assert len(out) > 10 and max(out) < 0.35, max(out)


def test_outside_is_black():
    still = dict(
        scale=torch.ones(1, 2),
        translate=torch.tensor([[0.5, 0.0]]),
        rotate=torch.zeros(1),
        shear=torch.zeros(1),
    )
    y = moved(torch.ones(1, 3, 16, 16), still)
    assert (y[..., :7] == 0).all() and (y[..., 9:] == 1).all()


def test_all_at_once_is_each_after_the_other():
    """Whatever order the batch is worked in inside, image i comes out at place i; a flip on the way
    through the affine change is a flip before it.
    """
    torch.manual_seed(5)
    x = torch.rand(24, 3, 20, 20)
    d = draw_p2(24)
    want = x
    for k in ('flip', 'blur', 'contrast', 'multiply'):
        want = augment_p2(want, {k: d[k]})
    got = augment_p2(x, {k: d[k] for k in ('flip', 'blur', 'contrast', 'multiply', 'affine')})
    assert torch.allclose(got, moved(want, d['affine']), atol=1e-4)
    quiet = {**d, 'noise': dict(scale=torch.zeros(24), own=d['noise']['own'])}
    assert torch.allclose(augment_p2(x, quiet), got, atol=1e-5)


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    """On a CPU a large batch is worked on part by part; with nothing drawn on the way, the same
    comes out.
    """
    import leukocls.train.augment as a

    x, d = torch.rand(11, 3, 20, 20), draw_p2(11)
    d.pop('noise')
    whole = augment_p2(x, d)
    monkeypatch.setattr(a, 'P2_CACHED', 3 * 4 * 3 * 20 * 20)
    assert torch.allclose(augment_p2(x, d), whole, atol=1e-6)


def test_same_seed_same_pictures():
    x = torch.rand(8, 3, 32, 32)
    runs = []
    for s in (1, 1, 2):
        torch.manual_seed(s)
        runs.append(augment_p2(x))
    assert (
        torch.equal(runs[0], runs[1])
        and not torch.equal(runs[0], runs[2])
        and runs[0].min() >= 0
        and runs[0].max() <= 1
    )


def test_what_is_given_stays():
    x = torch.rand(8, 3, 32, 32)
    before = x.clone()
    augment_p2(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('channels', [1, 3])
def test_types_and_channels(dtype, channels):
    y = augment_p2(torch.rand(5, channels, 16, 16).to(dtype))
    assert y.dtype == dtype and y.shape == (5, channels, 16, 16) and torch.isfinite(y.float()).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_moves_as_float32_does(dtype):
    """PyTorch's own grid_sample in bfloat16 reads outside the picture on a CPU (numbers that are
    none, at worst a crash), and coordinates in half precision are off by up to half a pixel.
    """
    torch.manual_seed(0)
    x = torch.rand(40, 3, 224, 224)
    drawn = draw_p2(40)['affine']
    want, got = moved(x, drawn), moved(x.to(dtype), drawn)
    assert got.dtype == dtype and (got.float() - want).abs().max() < 0.01


def test_sums_of_coordinates_are_plain_sums():
    "What a CPU adds as complex numbers is the sum of both coordinates."
    from leukocls.train.augment import _all_sums

    across, along = torch.rand(5, 7, 2), torch.rand(5, 4, 2)
    plain = across[:, None] + along[:, :, None]
    assert torch.equal(_all_sums(across, along), plain) and plain.shape == (5, 4, 7, 2)


def test_blur_in_groups_is_the_blur():
    "Images are blurred in place, as far as each needs; the same comes out as of all at once."
    from leukocls.train.augment import _blur_

    torch.manual_seed(0)
    x, sigma = torch.rand(60, 3, 20, 20), draw_p2(60)['blur']
    want = blurred(x, sigma)
    _blur_(x, sigma)
    assert torch.allclose(x, want, atol=1e-6)


@pytest.mark.parametrize('dim', [2, 3])
def test_blur_along_one_axis_is_a_convolution(dim):
    from leukocls.train.augment import _blur_along

    torch.manual_seed(0)
    x = torch.rand(4, 3, 12, 9)
    weights = [torch.rand(4, 1, 1, 1) for _ in range(3)]
    kernels = torch.cat([w.flatten()[:, None] for w in (*weights[:0:-1], *weights)], 1).numpy()
    want = [
        ndimage.convolve1d(image.numpy(), kernel, axis=dim - 1, mode='mirror')
        for image, kernel in zip(x, kernels)
    ]
    assert np.allclose(_blur_along(x, weights, dim).numpy(), want, atol=1e-5)


def test_training_images_only(table):
    dls = CellDataLoaders.from_table(
        split_table(table), size=32, bs=16, device='cpu', batch_tfms=augmentation('p2')
    )
    plain = CellDataLoaders.from_table(split_table(table), size=32, bs=16, device='cpu')
    assert torch.equal(dls.valid.one_batch()[0], plain.valid.one_batch()[0])
    first, second = dls.train.one_batch()[0], dls.train.one_batch()[0]
    assert type(first) is TensorImage and first.shape[1:] == (3, 32, 32)
    assert not torch.equal(first, second)
    held = dls.test_dl(list(table.path[:4]))
    assert torch.equal(held.one_batch()[0], plain.test_dl(list(table.path[:4])).one_batch()[0])


def test_a_run_with_it_is_predicted_as_it_was(table, tmp_path):
    from leukocls.models.predictor import open_pickle, predict_images
    from leukocls.runs.experiment import train

    run = train(
        'p2-cml1', split_table(table), out=tmp_path, progress=False, device='cpu', size=32, epochs=1
    )
    p = run.predictions
    assert run.info['recipe']['augment'] == 'p2'
    assert np.allclose(
        predict_images(open_pickle(run.folder / 'learner.pkl', trust=True), p.path)
        .filter(like='p_')
        .to_numpy(),
        p.filter(like='p_').to_numpy(),
        atol=1e-4,
    )


@pytest.mark.cuda
def test_on_a_gpu():
    x = torch.rand(64, 3, 64, 64, device='cuda')
    torch.manual_seed(0)
    a = augment_p2(x)
    torch.manual_seed(0)
    b = augment_p2(x)
    assert a.device == x.device and torch.equal(a, b)


@pytest.mark.parametrize('n', [1, 2, 3])
def test_a_batch_of_one(n):
    "Nobody, or everybody, has noise of their own, is blurred, is flipped."
    for seed in range(12):
        torch.manual_seed(seed)
        assert augment_p2(torch.rand(n, 3, 16, 16)).shape == (n, 3, 16, 16)


def test_stain_is_beer_and_lambert():
    """Densities mix linearly, the drawn numbers lie in their ranges, black and the range 0 to 1 are
    kept, two images never share a stain.
    """
    torch.manual_seed(0)
    x = torch.rand(400, 3, 6, 6) * 0.9 + 0.05
    mix, light = torch.rand(400, 3, 3) * 0.2 + torch.eye(3), torch.rand(400, 3) * 0.1 + 0.95
    got = vary_stain(x, mix, light)
    want = np.clip(
        10 ** -np.einsum('nij,njhw->nihw', mix.numpy(), -np.log10(x.numpy()))
        * light.numpy()[:, :, None, None],
        0,
        1,
    )
    assert np.allclose(got, want, atol=1e-5)
    a = torch.tensor([0.4, 0.7, 0.6])[None, :, None, None].expand(20_000, 3, 1, 1)
    out = vary_stain(a)[:, :, 0, 0]
    assert 0 <= out.min() and out.max() <= 1 and len(out.unique(dim=0)) == len(out)
    own, mixed, lamp = STAIN['own'], STAIN['mixed'], STAIN['light']
    d = -a[0, :, 0, 0].log()
    most = d * own + (d.sum() - d) * mixed - np.log(1 - lamp)
    change = (out.log() + d).abs().amax(0)
    assert (change <= most + 1e-5).all() and (change > 0.8 * most).all()
    black = torch.zeros(3, 3, 5, 5)
    black[:, :, 2, 2] = 0.5
    out = vary_stain(black)
    assert torch.equal(out == 0, black == 0)
    grey = vary_stain(torch.rand(5, 1, 4, 4))
    assert grey.shape == (5, 1, 4, 4)


def test_stain_is_for_training_images_only(table):
    dls = CellDataLoaders.from_table(
        split_table(table), size=32, bs=8, device='cpu', batch_tfms=augmentation('stain')
    )
    seen = [
        [dl.one_batch()[0] for _ in range(2)] for dl in (dls.valid, dls.train.new(shuffle=False))
    ]
    assert torch.equal(*seen[0]) and not torch.equal(*seen[1])


def test_an_own_augmentation_gets_floats(films):
    "fastai makes floats of whole numbers at order 10: what says no order comes after it."
    from fastai.vision.augment import RandTransform
    from fastai.vision.core import TensorImage

    from leukocls.train.augment import register_augmentation
    from leukocls.train.loaders import CellDataLoaders

    seen = []

    class Looks(RandTransform):
        def encodes(self, x: TensorImage):
            seen.append((x.dtype, float(x.max())))
            return x

    class Early(Looks):
        order = 5

    register_augmentation('looks', lambda: [Looks(p=1.0)])
    register_augmentation('early', lambda: [Early(p=1.0)])
    for name in ('looks', 'early'):
        CellDataLoaders.from_folder(
            films, size=32, bs=8, device='cpu', batch_tfms=augmentation(name)
        ).one_batch()
    (late, most), (early, _) = seen
    assert late == torch.float32 and most <= 1 and early == torch.uint8


def test_an_own_augmentation_that_changed_trains_anew(
    films, quick, tmp_path, capsys, without_plots
):
    "recipe.json has what it was registered with, and a run with other numbers is not this run."
    from leukocls.train.augment import register_augmentation

    how = dict(out=tmp_path, progress=False, device='cpu', epochs=1, augment='fades')
    names = []
    for sigma in (2, 2, 8):
        register_augmentation('fades', lambda: [], about=dict(sigma=sigma))
        with without_plots():
            (run,) = train_all(films, quick, repeat=False, **how)
        assert run.info['augmentation'] == dict(sigma=sigma)
        names.append(run.name)
    assert names[0] == names[1] != names[2]
    assert 'is this training' not in capsys.readouterr().err
    with pytest.raises(RunError, match='which JSON cannot hold'):
        register_augmentation('fades', lambda: [], about=dict(net={1}))


def test_a_run_predicts_without_the_augmentation_that_it_was_trained_with(films, tmp_path):
    "Rebuilt where nobody registered it: only a training batch needs it, and the error says how."
    table = split_table(read_table(films))
    recipe = replace(get_recipe('small-cnn', size=32, bs=8), augment='not-registered-here')
    dls = CellDataLoaders.from_table(table, size=32, bs=8, device='cpu')
    learn = cell_learner(dls, 'small-cnn')
    save_file(learn.model.state_dict(), tmp_path / 'model.safetensors')
    run = SimpleNamespace(folder=tmp_path, recipe=recipe, info=dict(model=model_facts(learn)))
    again = rebuild(run, table)
    assert np.isfinite(predict_images(again, table.path[:2].tolist()).filter(like='p_')).all(None)
    with pytest.raises(RunError, match=r'register_augmentation .* --with FILE\.py'):
        again.dls.one_batch()
