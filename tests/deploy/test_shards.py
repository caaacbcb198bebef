"Predictions that several machines share equal those of one."

import pandas as pd
import pytest
from shell import here


@pytest.mark.parametrize('kind', ['bundle', 'run'])
def test_parts_join_to_the_table_of_one_machine(
    kind, run, small_bundle, films, tmp_path, monkeypatch
):
    "Row by row, in CSV of a bundle and in Parquet of a run; the array job of SLURM names the parts."
    model, suffix = (small_bundle, 'csv') if kind == 'bundle' else (run.folder, 'parquet')
    whole, shared = tmp_path / f'whole.{suffix}', tmp_path / f'shared.{suffix}'
    assert not here('predict', model, films, '--csv', whole).returncode
    said = here('predict', model, films, '--csv', shared, '--shard', '2/3')
    assert 'which is whole' in said.stderr
    monkeypatch.setenv('SLURM_ARRAY_TASK_COUNT', '3')
    for task in ('1', '2', '3'):
        done = here('merge', shared)
        assert done.returncode == 2 and 'are missing' in done.stderr
        monkeypatch.setenv('SLURM_ARRAY_TASK_ID', task)
        said = here('predict', model, films, '--csv', shared)
        assert f'Part {task} of 3 (from SLURM_ARRAY_TASK_ID={task}' in said.stderr
    done = here('merge', shared)
    assert not done.returncode and '120 predictions' in done.stderr
    if kind == 'bundle':
        assert shared.read_bytes() == whole.read_bytes()
    else:
        pd.testing.assert_frame_equal(pd.read_parquet(shared), pd.read_parquet(whole))


def test_parts_of_two_models_are_refused(run, small_bundle, films, tmp_path):
    out = tmp_path / 'table.csv'
    for model, shard in ((small_bundle, '1/2'), (run.folder, '2/2')):
        assert not here('predict', model, films, '--csv', out, '--shard', shard).returncode
    done = here('merge', out)
    assert done.returncode == 2 and 'another model' in done.stderr and not out.exists()
    done = here('predict', small_bundle, films, '--csv', out, '--shard', '2/2')
    assert done.returncode == 2 and 'is whole, but another model' in done.stderr
    done = here('predict', small_bundle, films, '--shard', '1/2', '--by-patient')
    assert done.returncode == 2 and 'would be in several parts' in done.stderr
