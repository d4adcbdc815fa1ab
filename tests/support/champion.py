"""The committed champion's bundle, and rows of the worked example's table as a client would send them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.files import read_json
from lifecycle.core.params import Params, load_params
from lifecycle.serving.bundle import Bundle, load_bundle, to_request
from lifecycle.sources.dispatch import read_source
from tests.support.bundles import make_champion, write_release

HERE = Path(__file__).resolve().parents[2]
Record = dict[str, Any]


def copy_champion(root: Path) -> Path:
    """Give the project in `root` the checkout's champion, or a small one where the checkout has none; its bundle."""
    champion = read_json(HERE / paths.CHAMPION)
    if champion["model"] is None:
        champion = write_release(root)
        make_champion(root, champion)
    else:
        (root / paths.CHAMPION).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / paths.CHAMPION, root / paths.CHAMPION)
        shutil.copytree(HERE / paths.RELEASES, root / paths.RELEASES)
    return root / paths.RELEASES / champion["model"][:12] / "bundle"


@cache
def load_champion() -> Bundle:
    """The bundle that answers."""
    with TemporaryDirectory() as folder:
        return load_bundle(copy_champion(Path(folder)))


@cache
def read_settings() -> tuple[Params, Contract]:
    """The project's parameters and its contract."""
    return load_params(HERE / paths.PARAMS), load_contract(HERE / paths.CONTRACT)


@cache
def read_table() -> pd.DataFrame:
    """The table that the pipeline begins with."""
    return read_source(read_settings()[0].collect.source, HERE)[0].to_pandas()


def to_requests(frame: pd.DataFrame) -> list[Record]:
    """Rows of the table as the champion's requests."""
    names = list(load_champion().schema.columns)
    return [to_request(dict(zip(names, row, strict=True))) for row in frame[names].itertuples(index=False, name=None)]
