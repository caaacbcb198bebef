"Real images, where they are at hand; nothing of them enters the project."

import pytest

from leukocls.data.datasets import card
from leukocls.data.splits import identical_files, shared_files, split_table
from leukocls.data.table import CellDataLoaders, check_images, read_table
from leukocls.runs.experiment import train

pytestmark = [pytest.mark.data, pytest.mark.once]


def test_taleqani_is_what_its_card_says(shared):
    for part in ('Original', 'Segmented'):
        t = read_table(shared / 'data/taleqani' / part)
        assert card('taleqani').check(t) == [] and len(check_images(t)) == 3256


def test_taleqani_holds_copies_that_stay_together(shared):
    t = split_table(read_table(shared / 'data/taleqani/Original'))
    assert len(identical_files(t)) > 0 and shared_files(t) == []


def test_both_parts_are_not_classes(shared):
    with pytest.raises(ValueError, match='Choose one'):
        read_table(shared / 'data/taleqani')


def test_cnmc_names_give_people(shared):
    t = read_table(shared / 'data/cnmc2019/images', patient=card('c-nmc'))
    assert len(t) == 20 and t.patient.notna().all()
    dls = CellDataLoaders.from_folder(
        shared / 'data/cnmc2019/images',
        patient=card('c-nmc'),
        size=64,
        bs=4,
        valid_pct=0.3,
        device='cpu',
    )
    assert dls.one_batch()[0].shape == (4, 3, 64, 64)


def test_real_weights_train_a_step(shared, tmp_path):
    t = read_table(shared / 'data/pbc8_sample')
    t = t[t.label.isin(['platelet', 'lymphocyte', 'erythroblast'])].reset_index(drop=True)
    run = train(
        'mobilenetv2',
        split_table(t, 'random'),
        out=tmp_path,
        weights=str(shared / 'weights/mobilenetv2_100_imagenet'),
        size=96,
        bs=8,
        epochs=4,
        progress=False,
        device='cpu',
    )
    assert (
        run.metrics['n'] >= 50
        and run.metrics['accuracy']['value'] > 0.6
        and str(shared).encode() not in (run.folder / 'learner.pkl').read_bytes()
    )


@pytest.mark.slow
def test_p3_as_described_learns(shared, tmp_path):
    "All its images are divided as P3 says; a fourth of each side learns for as many steps as four epochs take."
    whole = split_table(read_table(shared / 'data/taleqani/Original'), 'random')
    assert (whole.split == 'test').sum() in (651, 652)
    fourth = whole.iloc[::4].reset_index(drop=True)
    run = train('modified-cnn', fourth, out=tmp_path, epochs=16, progress=False, device='cpu')
    assert run.metrics['n'] == (fourth.split == 'test').sum() > 140
    assert run.metrics['accuracy']['value'] > 0.5
