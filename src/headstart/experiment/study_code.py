"""The code of users' own networks in the folder of a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headstart.config import stored_code
from headstart.config.study_file import StudySpec
from headstart.models import user_code
from headstart.models.user_code import UserCode
from headstart.storage import contained, run_index
from headstart.storage.schemas.study import VariantsFile
from headstart.training import setup


def write_code(folder: Path, arms: Iterable[setup.ResolvedRun]) -> None:
    """Write the code of users' own networks to the study's folder, and enter the study in the user's index."""
    networks = {arm.plan.facts.network_sha256: arm.plan.network.network for arm in arms}
    for sha256, network in networks.items():
        if sha256:
            contained.make_folder(folder, user_code.CODE_FOLDER)
            stored_code.write_code(folder, code_folder(sha256), network)
        run_index.add(folder, code=sha256)


def read_code(folder: Path, spec: StudySpec) -> dict[str, UserCode]:
    """Return the code of users' own networks from the beginning of a study, by network.

    Raises:
        DataError: The code or variants.json is missing or was changed.
        ModelFileError: This user has not run the code and does not trust it.
    """
    networks = {variant.name: variant.plan(spec.plan).network.network for variant in spec.variants}
    own = {name: network for name, network in networks.items() if user_code.is_user_network(network)}
    if not own:
        return {}
    variants, codes = VariantsFile.read(folder / "variants.json").variants, dict[str, UserCode]()
    for name, network in own.items():
        sha256 = (variants[name].network if name in variants else None) or ""
        codes |= stored_code.stored_code(folder, code_folder(sha256), network, sha256)
    return codes


def code_folder(sha256: str) -> str:
    """Return the name of the folder of one of the networks of a study, below that of the study."""
    return f"{user_code.CODE_FOLDER}/{sha256[:12]}"
