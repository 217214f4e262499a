import pytest
from miniatures import Shop

from index.catalog import catalog


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def nobody_follows():
    """No server needs the time that a job or a collection of garbage leaves it to follow a rollback or a publish."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "FOLLOWED", 0.0)
        yield
