"memory.py's side in a process of its own: predicts N images into a table, prints its peak in MB."

import itertools
import resource
import sys

from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.models.backbones import cell_learner
from leukocls.models.predictor import predict_to
from leukocls.train.loaders import CellDataLoaders

data, weights, n, out = sys.argv[1:]
table = split_table(read_table(data))
dls = CellDataLoaders.from_table(table, device='cpu')
learn = cell_learner(dls, 'mobilenetv2_100', weights, fp16=False)
predict_to(learn, itertools.islice(itertools.cycle(table.path), int(n)), out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
