"""How many patients a study needs: each number against the formula it comes from, or against what
happens in drawn studies of that size.
"""

from math import asinh, ceil

import numpy as np
import pytest
from scipy.stats import norm

from leukocls.core.errors import DataError
from leukocls.measure.patients import auroc_interval
from leukocls.measure.planning import (
    cells_to_find,
    chance_limit,
    chance_sentence,
    plan_share_width,
    plan_study,
)

Z = norm.ppf(0.975)


@pytest.mark.parametrize(
    'share, width, prevalence', [(0.9, 0.2, 0.5), (0.8, 0.1, 0.1), (0.5, 0.3, 0.9)]
)
def test_shares_are_buderers(share, width, prevalence):
    plan = plan_study(prevalence, share, width, specificity=share)
    group = Z**2 * share * (1 - share) / (width / 2) ** 2
    needed = dict(zip(plan.table.figure, plan.table.patients))
    assert needed == dict(
        sensitivity=ceil(group / prevalence), specificity=ceil(group / (1 - prevalence))
    )
    assert plan.patients == max(needed.values())
    # so many patients give an interval of that width, and the text says so
    with_finding = plan.table.positive[0]
    assert plan_share_width(share, with_finding) == pytest.approx(width, rel=0.05)
    assert f'{plan.patients:,}' in str(plan) and f'{plan.patients:,}' in plan._repr_html_()


@pytest.mark.parametrize('auroc', [0.6, 0.8, 0.95])
@pytest.mark.parametrize('prevalence', [0.1, 0.5])
def test_an_auroc_is_known_to_the_width_in_drawn_studies(auroc, prevalence):
    "The spread of the area over drawn studies of the planned size is what the width asks for."
    width = 0.15
    n = plan_study(prevalence, None, width, auroc=auroc).patients
    apart = np.sqrt(2) * norm.ppf(auroc)
    rng = np.random.default_rng(0)
    positive = round(n * prevalence)
    ill = rng.normal(apart, 1, (400, positive, 1))
    well = rng.normal(0, 1, (400, 1, n - positive))
    areas = (ill > well).mean((1, 2))
    assert 2 * Z * areas.std() == pytest.approx(width, rel=0.25)
    # with half of the patients it is wider
    low, high = auroc_interval(auroc, positive // 2, (n - positive) // 2)
    assert high - low > width


@pytest.mark.parametrize('width, prevalence', [(0.4, 0.3), (1.0, 0.05)])
def test_calibration_in_the_large_in_drawn_studies(width, prevalence):
    n = plan_study(prevalence, None, calibration=width).patients
    observed = np.random.default_rng(1).binomial(n, prevalence, 20_000) / (n * prevalence)
    assert 2 * Z * np.log(observed).std() == pytest.approx(2 * asinh(width / 2), rel=0.1)


def test_alike_cells_need_more_patients_and_never_fewer_than_two():
    def patients(cells, icc):
        plan = plan_study(0.5, 0.9, cells=cells, icc=icc)
        return plan.table.patients.iloc[-1]

    alone = plan_study(0.5, 0.9).patients
    assert patients(1, 0.1) == alone
    # cells that are all alike are as one cell
    assert patients(100, 1.0) == alone
    assert patients(100, 0.0) == max(4, ceil(alone / 100))
    assert patients(10_000, 0.0) == 4
    assert patients(10, 0.1) < patients(10, 0.5) < alone


@pytest.mark.parametrize('positive, negative', [(5, 5), (20, 80), (500, 500)])
def test_chance_exceeds_its_limit_as_often_as_promised(positive, negative):
    limit = chance_limit(positive, negative)
    assert chance_limit(negative, positive) == limit
    rng = np.random.default_rng(2)
    ranks = rng.random((2000, positive + negative)).argsort(1).argsort(1)
    area = (ranks[:, :positive].sum(1) - positive * (positive - 1) / 2) / (positive * negative)
    assert (area > limit).mean() == pytest.approx(0.025, abs=0.012)


def test_what_few_patients_can_show_is_said():
    assert chance_sentence(0, 9) == ''
    assert 'no AUROC can be told from chance' in chance_sentence(1, 1)
    said = chance_sentence(20, 80)
    assert f'above {chance_limit(20, 80):.2f}' in said and '100 patients, 20 of them' in said
    with pytest.raises(DataError, match='Patients of both groups'):
        chance_limit(0, 9)


@pytest.mark.parametrize('share', [0.001, 0.05, 0.5])
def test_so_many_cells_show_one_of_the_class(share):
    n = cells_to_find(share)
    assert 1 - (1 - share) ** n >= 0.95 > 1 - (1 - share) ** (n - 1)


@pytest.mark.parametrize(
    'wrong, said',
    [
        (dict(prevalence=0), 'is no share'),
        (dict(sensitivity=90), 'is no share'),
        (dict(width=1.5), 'is no share'),
        (dict(auroc=1), 'is no share'),
        (dict(icc=-0.1), 'is no correlation'),
        (dict(sensitivity=None), 'Nothing is asked for'),
    ],
)
def test_what_is_no_share_is_refused(wrong, said):
    with pytest.raises(DataError, match=said):
        plan_study(**wrong)
    with pytest.raises(DataError, match='is no share'):
        cells_to_find(1)
