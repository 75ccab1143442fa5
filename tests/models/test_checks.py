import warnings

warnings.filterwarnings("ignore")
import sys

sys.path.insert(0, ".")
import pytest
from models.checks import yield_checks
from models.tasks import task_for
from tests.models.zoo import ZOO

CASES = [
    pytest.param(check, id=f"{name}:{check.__name__}")
    for name, k in ZOO.items()
    for check in yield_checks(k.model, task_for(k.task), k.purity)
]


@pytest.mark.parametrize("check", CASES)
def test_c(check):
    check()
