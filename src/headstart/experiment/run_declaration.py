"""Compare the runs in the folder of a study with what the study declares, without its images.

The images are not there to compute the hashes of the plans. So each plan is compared with its declaration, and what
only the images decide, with the other files of the study.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.config.plan_file import differences
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import start_row
from headstart.config.study_config import ArmVariant
from headstart.config.study_file import StudySpec
from headstart.errors import DataError
from headstart.i18n import Message, _, verbatim
from headstart.storage.files import JsonData
from headstart.storage.run_files import VARIANTS_FILE
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import Stage, VariantInputs, VariantsFile
from headstart.text import join_first

_DECLARED = {"data", "network", "arm", "recipe", "seeding"}  # sections of a plan that the images do not decide
_MAX_SHOWN = 3


def require_own_runs(folder: Path, spec: StudySpec) -> None:
    """Raise DataError if a run of the comparison is not one that the study declares, before anything is trained.

    Args:
        folder: Folder of the study.
        spec: Its content of study.toml.
    """
    variants = VariantsFile.read(folder / VARIANTS_FILE)
    for run in runs_in(folder):
        if run.stage is Stage.MAIN and (faults := list(plan_faults(run, spec, variants))):
            raise DataError(
                _(
                    "{folder} is a run of another study: {differences}.",
                    folder=run.folder,
                    differences=join_first(faults, _MAX_SHOWN),
                ),
                _(
                    "Move it out of the folder, and restore the run of this study from a copy, or resume the study to "
                    "train it again."
                ),
            )


def is_declared(run: RunRecord, spec: StudySpec, results: SearchResults, variants: VariantsFile) -> bool:
    """Return whether a run has the plan that its study declares for it, on the images with which the study began."""
    budget, _fraction = run.condition
    try:
        rate = results.selected_rate(run.arm, budget, run.seed)
    except KeyError:
        return False
    if rate is not None and rate != run.rate:
        return False
    return next(plan_faults(run, spec, variants), None) is None


def plan_faults(run: RunRecord, spec: StudySpec, variants: VariantsFile) -> Iterator[Message]:
    """Yield what of a run is not as its study declares it; the learning rate only if it is not searched."""
    variant = next((variant for variant in spec.variants if variant.arm == run.spec), None)
    inputs = variants.variants.get(run.arm)
    if variant is None or inputs is None:
        yield _("the arm {arm} is not declared", arm=run.arm)
        return
    if run.seed not in spec.seed_range:
        yield _("the seed {seed} is not declared", seed=run.seed)
    if run.condition.budget not in map(str, spec.budgets) or run.condition.fraction not in spec.protocol.fractions:
        yield _("its length or its share of the training images is not declared")
    if not has_inputs_of(run, inputs):
        yield _("its images, its weights or the code of its network differ")
    yield from map(verbatim, _setting_faults(run, variant, spec))


def has_inputs_of(run: RunRecord, inputs: VariantInputs) -> bool:
    """Return whether a run has read what its variant read when the study began; what is not stored is not compared."""
    facts = run.plan.facts
    pairs = [
        (inputs.images, facts.fingerprint),
        (inputs.near_duplicates, facts.near_duplicates_sha256),
        (inputs.network, facts.network_sha256),
        (None if start_row(run.spec.start).needs_training else inputs.weights, facts.weights_sha256),
    ]
    return all(stored in (None, read) for stored, read in pairs)


def _setting_faults(run: RunRecord, variant: ArmVariant, spec: StudySpec) -> list[str]:
    """Return the differences between the declared and the actual settings of a run."""
    draft = variant.plan(spec.plan).changed(seed=run.seed, fraction=run.condition.fraction, epochs=run.condition.budget)
    open_fields = {*draft.unresolved_fields, "data.evaluate_on_val"}  # the counts of the splits show the latter
    if start_row(draft.arm.start).needs_training:
        open_fields.add("arm.start")
    if spec.searches_lr:
        open_fields.add("recipe.lr")
    lines = differences(_settings(draft.with_facts(run.plan.facts)), _settings(run.plan))
    return [line for line in lines if line.partition(":")[0] not in open_fields]


def _settings(plan: RunConfig) -> dict[str, JsonData]:
    """Return the settings that the images do not decide, without the places of files."""
    return {name: value for name, value in plan.identity().items() if name in _DECLARED}
