"""Check every arm of a study before the first step, and write what the arms read to the study's variants.json.

variants.json holds fingerprints of each arm's images and weights, and what both have in common. A resumed study refuses
other images or weights, and its verdict reports which evaluation images the weights have been trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import arm_words
from headstart.audit.quick import say_quick_lines
from headstart.config.plan_file import differences, read_plan_file
from headstart.config.registry.starts import DEFAULT_START, FILE_START, SOURCE_START, Argument
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import split_start, start_form, start_path, start_row
from headstart.config.study_file import StudySpec
from headstart.data import hashing, sources
from headstart.data.class_names import shared_classes
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.splits import Split
from headstart.errors import DataError, HeadstartError, MissingWeightsError, UsageError
from headstart.experiment.study_kind import COMPARISON, StudyKind
from headstart.i18n import Message, _
from headstart.metrics.values import require_kept_logits
from headstart.models.user_code import is_user_network
from headstart.reporter import NullReporter, Reporter
from headstart.runs.job_protocol import RunRequest
from headstart.storage import files
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.study import InputFingerprints, VariantInputs, VariantsFile
from headstart.training import setup


def check_inputs(spec: StudySpec) -> None:
    """Read the images and weights of every arm, so that missing ones are reported before anything is measured."""
    for variant in spec.variants:
        plan = variant.plan(spec.plan)
        if source := source_of(plan):
            setup.load_inputs(source_plan(spec, source))
            plan = plan.changed(start=DEFAULT_START)
        with _suggest_other_arms():
            setup.load_inputs(plan)


def resolve_arms(
    spec: StudySpec, reporter: Reporter, kind: StudyKind = COMPARISON
) -> tuple[list[setup.ResolvedRun], dict[str, setup.ResolvedRun]]:
    """Resolve the configuration of every arm variant and source, which raises every error that a run can start with.

    Args:
        spec: The study, with its machine resolved.
        reporter: Receives notes on the images and on each start, each once.
        kind: Kind of the study.

    Returns:
        The resolved variants, in order, and the resolved sources by name.

    Raises:
        UsageError: Two arms are the same or have different splits, or the metric needs the logits of more classes than
            are kept.
        DataError: The evaluation split has too few images, or images or weights are missing.
    """
    arms: list[setup.ResolvedRun] = []
    sources: dict[str, setup.ResolvedRun] = {}
    names: dict[tuple[str, str], str] = {}
    reported: set[tuple[str, str]] = set()
    for variant in spec.variants:
        plan = variant.plan(spec.plan)
        if source := source_of(plan):
            if source not in sources:
                sources[source] = setup.resolve_run(source_plan(spec, source), NullReporter())
            plan = plan.changed(start=DEFAULT_START)
        with _suggest_other_arms():
            arm = setup.resolve_run(kind.with_evaluation_split(plan), reporter if not arms else NullReporter())
        notes = {(arm.plan.arm.start, note) for note in arm.start.notes}
        for _unused, note in sorted(notes - reported) if arms else ():
            reporter.say(_("{arm}: {note}", arm=arm_words(variant.arm), note=note))
        reported |= notes
        kind.require_images(arm.plan)
        require_kept_logits(spec.protocol.metric, len(arm.plan.facts.class_names))
        if not arms:  # all arms have the same images
            say_quick_lines(arm.plan, arm.dataset, arm.split, reporter)
            for seed in (*spec.seed_range, *spec.search_seed_range):
                seeded = arm.plan.changed(seed=seed)
                for fraction in spec.protocol.fractions:
                    arm.dataset.split(seeded.changed(fraction=fraction))
        first = names.setdefault((arm.plan.hash, variant.plan(spec.plan).arm.start), variant.name)
        if first != variant.name:
            raise UsageError(
                _("{first} and {second} are the same arm.", first=first, second=variant.name),
                _("Leave one of them out."),
            )
        if arms and _division(arm) != _division(arms[0]):
            raise UsageError(
                _(
                    "The images of {first} and of {second} are divided in different ways.",
                    first=spec.variants[0].name,
                    second=variant.name,
                ),
                _("Use one set of images and one setting of --near-duplicates in all arms."),
            )
        arms.append(arm)
    return arms, sources


def _division(arm: setup.ResolvedRun) -> tuple[str, tuple[str, ...]]:
    """Return what arms must have in common to be compared: the near-duplicates of the split, and the test images."""
    keys = arm.dataset.images.keys
    return arm.plan.facts.near_duplicates_sha256, tuple(keys[i] for i in arm.split.test)


@contextmanager
def _suggest_other_arms() -> Iterator[None]:
    """Add to an error about missing weights the arms that need no download."""
    try:
        yield
    except MissingWeightsError as error:
        raise DataError(
            error.message,
            _(
                "{instructions}; or name arms that need no download: `--arm {start} --arm {file_form}` uses local "
                "weights, `--arm {start} --arm {source_form}` trains on another labeled set first.",
                instructions=error.instructions,
                start=DEFAULT_START,
                file_form=start_form(FILE_START),
                source_form=start_form(SOURCE_START),
            ),
        ) from error


def source_of(plan: RunConfig) -> str:
    """Return the labeled set that an arm is trained on first, or "" if its start needs no training."""
    start = plan.arm.start
    return split_start(start)[1] if start_row(start).needs_training else ""


def source_arm(source: str) -> ArmSpec:
    """Return what the run on a source is called: it belongs to no arm of the study."""
    return ArmSpec(start=f"{SOURCE_START}:{source}", label=f"{SOURCE_START}:{Path(source).stem}")


def source_plan(spec: StudySpec, source: str) -> RunConfig:
    """Return the configuration of the run on a source: from scratch, with the study's recipe."""
    return spec.plan.changed(
        source=source,
        classes=(),
        class_folders="auto",
        path_column="",  # the source may be another kind of data
        label_column="",
        split_column="",
        group_column="",
        fraction=1.0,
        start=DEFAULT_START,
        epochs=spec.source_epochs,
    )


def write_arm_inputs(
    folder: Path, spec: StudySpec, arms: list[setup.ResolvedRun], sources: dict[str, setup.ResolvedRun]
) -> None:
    """Write the inputs of every arm variant to variants.json in the study's folder."""
    inputs = {}
    for variant, arm in zip(spec.variants, arms, strict=True):
        plan = variant.plan(spec.plan)
        source = sources.get(source_of(plan))
        trained_classes = source.dataset.images.classes if source else arm.start.classes
        seen, all_known = (
            (_train_digests(source.dataset, source.split), True) if source else _start_digests(arm.plan.arm.start)
        )
        count = sum(arm.dataset.content_hashes[i] in seen for i in arm.split.test)
        fingerprints = input_fingerprints(plan, arm.plan)
        inputs[variant.name] = VariantInputs(
            arm=variant.arm,
            images=fingerprints.images,
            near_duplicates=fingerprints.near_duplicates,
            weights=fingerprints.weights,
            network=fingerprints.network,
            source_images=source_fingerprint(source.plan).source_images if source else None,
            declared=arm.split.declared,
            overlaps=arm.dataset.overlaps(arm.split),
            known_classes=list(shared_classes(arm.dataset.images.classes, trained_classes)),
            known_images=count if count or all_known else None,
        )
    files.write_json(folder / "variants.json", VariantsFile(variants=inputs).to_json())


def pooled_inputs(arm: ArmSpec, plan: RunConfig) -> VariantInputs:
    """Return the inputs of an arm of pooled runs; what is unknown without its images and weights is left open.

    Args:
        arm: The arm.
        plan: Resolved configuration of one of its runs.
    """
    from_scratch = start_row(plan.arm.start).from_scratch
    inputs = VariantInputs(
        arm=arm,
        **input_fingerprints(plan, plan).model_dump(),
        declared="",
        overlaps=[],
        known_classes=[],
        known_images=0 if from_scratch else None,
    )
    classes: tuple[str, ...] = ()
    try:
        index = sources.read_data(plan.data)
        dataset, split = load_dataset(plan, index, NullReporter())
        if not is_user_network(plan.network.network):  # the weights would be fitted to it: code of others
            classes = setup.load_inputs(plan)[2].classes
    except (HeadstartError, OSError):  # not on this machine
        return inputs
    if hashing.fingerprint(dataset.images, dataset.content_hashes) != plan.facts.fingerprint:
        return inputs
    seen, all_known = _start_digests(plan.arm.start)
    count = sum(dataset.content_hashes[i] in seen for i in split.test)
    return inputs.model_copy(
        update={
            "declared": split.declared,
            "overlaps": dataset.overlaps(split),
            "known_classes": list(shared_classes(dataset.images.classes, classes)),
            "known_images": count if count or all_known else None,
        }
    )


def _start_digests(start: str) -> tuple[set[str], bool]:
    """Return the digests of the images that a start is known to be trained on, and whether these are all.

    For a finished run the images are read again, and those of the start of that run, if they have not changed.
    """
    spec, path = start_row(start), start_path(start)
    if spec.random:
        return set(), True
    if spec.argument is not Argument.RUN or path is None:
        return set(), False
    try:
        plan = read_plan_file(path).plan
        index = sources.read_data(plan.data)
        dataset, split = load_dataset(plan, index, NullReporter())
    except (HeadstartError, OSError):
        return set(), False
    if hashing.fingerprint(dataset.images, dataset.content_hashes) != plan.facts.fingerprint:
        return set(), False
    earlier, all_known = _start_digests(plan.arm.start)
    return earlier | _train_digests(dataset, split), all_known


def _train_digests(dataset: Dataset, split: Split) -> set[str]:
    """Return the digests of the images of a train split."""
    return {dataset.content_hashes[i] for i in split.train}


def input_fingerprints(draft: RunConfig, resolved: RunConfig) -> InputFingerprints:
    """Return the fingerprints of an arm's images and weights.

    Args:
        draft: The arm's declared configuration. With a `source:` start it has no weights yet.
        resolved: Its resolved configuration.
    """
    facts = resolved.facts
    weights = None if source_of(draft) else facts.weights_sha256
    return InputFingerprints(
        images=facts.fingerprint,
        near_duplicates=facts.near_duplicates_sha256,
        weights=weights,
        network=facts.network_sha256 or None,
    )


def source_fingerprint(resolved: RunConfig) -> InputFingerprints:
    """Return the fingerprint of a source's images: other images would give the arm other weights."""
    return InputFingerprints(source_images=resolved.facts.fingerprint)


def require_unchanged(folder: Path, variant: str, current: InputFingerprints) -> None:
    """Require that an arm's images and weights are those of the beginning of the study.

    Args:
        folder: Folder of the study.
        variant: Name of the arm variant.
        current: The present fingerprints; those that are None are not compared.

    Raises:
        DataError: A fingerprint differs, or variants.json does not contain it.
    """
    path = folder / "variants.json"
    inputs = VariantsFile.read(path).variants.get(variant)
    first = {} if inputs is None else inputs.model_dump(exclude_none=True)
    present = current.model_dump(exclude_none=True)
    if missing := [name for name in present if name not in first]:
        raise DataError(
            _(
                "{path} has no {field} of {arm}.",
                path=path,
                field=missing[0],
                arm=variant if inputs is None else arm_words(inputs.arm),
            ),
            _("Restore the file, or begin a new study."),
        )
    changes = differences({name: first[name] for name in present}, present)
    if changes and all(change.startswith("near_duplicates:") for change in changes):
        raise DataError(
            _("The near-duplicates that are found among the images are not those that the study began with."),
            _("Resume the study on the computer on which it began, or begin a new study."),
        )
    if changes:
        raise DataError(
            _(
                "The data or the weights of {arm} have changed since the study began: {changes}.",
                arm=variant if inputs is None else arm_words(inputs.arm),
                changes="; ".join(changes),
            ),
            _("Restore them, or begin a new study."),
        )


def requested_records(
    requests: Sequence[RunRequest], records: Mapping[str, RunRecord], work: Message
) -> list[RunRecord]:
    """Return the records of requested runs, in order.

    Args:
        requests: The requests.
        records: Records by hash.
        work: What requested the runs, such as "study".

    Raises:
        DataError: A run has no record, because its hash, and so its images or weights, changed.
    """
    if any(request.plan.hash not in records for request in requests):
        raise DataError(
            _("The images or the weights changed during the {work}.", work=work),
            _("Restore them, then resume the {work}.", work=work),
        )
    return [records[request.plan.hash] for request in requests]


def common_precision(runs: Iterable[setup.ResolvedRun]) -> str:
    """Return one precision that all arms and sources support: the first arm's, or fp32 if any of them has fp32."""
    precisions = [run.plan.machine.precision for run in runs]
    return "fp32" if "fp32" in precisions else precisions[0]
