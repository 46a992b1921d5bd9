"""Failed tasks are what many tests are about: they are not logged here."""

import pytest
from loguru import logger


@pytest.fixture(autouse=True)
def quiet():
    logger.disable("dagflow")
    yield
    logger.enable("dagflow")
