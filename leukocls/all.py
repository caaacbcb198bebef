"""Everything a notebook needs after `from leukocls.all import *`: leukocls, and fastai's vision names beneath it."""

from fastai.vision.all import *

from leukocls.core import *
from leukocls.data import *
from leukocls.audit import *
from leukocls.models import *
from leukocls.train import *
from leukocls.measure import *
from leukocls.report import *
from leukocls.runs import *
from leukocls.deploy import *

# called like the modules that they stand in
from leukocls.train.recipes import recipes
from leukocls.runs.leaderboard import leaderboard
