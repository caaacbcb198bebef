"Shards and addresses, read by one process: the answers are those to the files."

import tarfile
from pathlib import Path

import pandas as pd
import pytest

from leukocls.cli.commands import main
from leukocls.core.errors import DataError
from leukocls.deploy.classifier import Classifier
from leukocls.deploy.cluster import classify_places
from leukocls.deploy.places import blocks_of, read_block


@pytest.fixture
def few(films):
    return sorted(map(str, Path(films).rglob('*.png')))[:12]


@pytest.fixture
def shards(few, tmp_path):
    "Four images in a tar file, and four in a Parquet file of two row groups."
    tar, parquet = tmp_path / 'a.tar', tmp_path / 'b.parquet'
    with tarfile.open(tar, 'w') as archive:
        archive.add(__file__, 'notes.txt')
        for path in few[:4]:
            archive.add(path, Path(path).name)
    rows = [dict(bytes=Path(path).read_bytes(), path=Path(path).name) for path in few[4:8]]
    table = pd.DataFrame(dict(image=rows, label=range(4)))
    table.to_parquet(parquet, row_group_size=2)
    return str(tar), str(parquet)


def test_shards_give_the_answers_to_their_files(small_bundle, few, shards, tmp_path):
    out, address = tmp_path / 'table.parquet', f'file://{few[8]}'
    with pytest.raises(SystemExit) as ended:
        main(['predict', str(small_bundle), *shards, address, '--csv', str(out)])
    assert ended.value.code == 0
    table = pd.read_parquet(out)
    assert table.path.str.rsplit('/', n=1).str[1].tolist() == [Path(p).name for p in few[:9]]
    here = [p.to_dict() for p in Classifier.load(small_bundle).many(few[:9])]
    assert table.pred.tolist() == [p['label'] for p in here]
    assert table.p_Early.tolist() == [round(p['probabilities']['Early'], 6) for p in here]
    assert table.in_domain.tolist() == [p['in_domain'] for p in here]


def test_what_cannot_be_read_is_a_row(small_bundle, few, shards, tmp_path):
    "A shard that was cut off, a file that is no image, and the images before them."
    tar = Path(shards[0])
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    wrong = tmp_path / 'wrong.png'
    wrong.write_bytes(b'no image')
    out = tmp_path / 'table.csv'
    classify_places(Classifier.load(small_bundle), [tar, wrong, few[0]], out, progress=False)
    table = pd.read_csv(out)
    assert 3 <= len(table) <= 6 and table.pred.iloc[-1]
    assert 'shard cannot be read' in table.error.iloc[-3] and 'not an image' in table.error.iloc[-2]


def test_only_blocks_whose_images_changed_are_answered_again(small_bundle, few, tmp_path):
    "As after a stop: two of three blocks are done, and an image of one of them is replaced."
    import leukocls.deploy.cluster as deployed

    mine = [tmp_path / f'{i}.png' for i in range(6)]
    for path, film in zip(mine, few):
        path.write_bytes(Path(film).read_bytes())
    clf, out = Classifier.load(small_bundle), tmp_path / 'table.csv'
    asked, classify = [], deployed.classify_block

    def counted(clf, block):
        asked.append([Path(name).name for name, _ in block.images])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return classify(clf, block)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deployed, 'classify_block', counted)
        with pytest.raises(KeyboardInterrupt):
            classify_places(clf, mine, out, block=2, progress=False)
        mine[2].write_bytes(Path(few[9]).read_bytes())
        assert classify_places(clf, mine, out, block=2, progress=False) == 6
    assert asked[3:] == [['2.png', '3.png'], ['4.png', '5.png']]
    assert pd.read_csv(out).pred.iloc[2] == clf(few[9]).label


def test_addresses_are_listed_in_order(films):
    "As the folder is, with the names of the file system in front."
    folder = [name for block in blocks_of([films], 50) for name, _ in block.images]
    address = [b for b in blocks_of([f'file://{films}'], 50)]
    assert [name for b in address for name, _ in b.images] == [f'file://{name}' for name in folder]
    assert next(read_block(address[0]))[1] == Path(folder[0]).read_bytes()
    with pytest.raises(DataError, match='holds no image'):
        list(blocks_of([f'file://{films}/nothing/*.png']))
