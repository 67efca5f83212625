"""Verdicts of many kinds, for tests of their sentences."""

from itertools import combinations

from hypothesis import strategies as st

from headstart.analysis.headline import not_worse
from headstart.storage.schemas.contrast import Contrast, Outcome, SampleSizeEstimate
from headstart.storage.schemas.overlap import Overlap, OverlapKind
from headstart.storage.schemas.search import ArmSearch, SearchGroup
from headstart.storage.schemas.verdict import (
    ArmResult,
    Crossover,
    DataEfficiency,
    EvaluationImages,
    Exposure,
    GridRow,
    InterimAnalysis,
    LabelEquivalence,
    TimeToTarget,
    Verdict,
)
from tests import verdicts

ARMS = ("scratch:a", "scratch", "imagenet", "imagenet+frozen", "imagenet+lp-ft", "imagenet+stages:2", "file:weights",
        "scratch+mlp:8@adam", "imagenet,lr=0.1", "scratch:orthogonal,weight-decay=0.1")  # fmt: skip
BUDGETS = ("1ep", "3ep", "0.5ep", "100st", "1st")
NETWORK, CLASS_NAME, EXAMPLE = "resnet18", "dog", "cat.jpg"
overlaps = st.builds(
    lambda kind, count: Overlap(
        kind=kind,
        splits=None if kind is OverlapKind.LABEL else ("val", "test"),
        count=count,
        examples=(EXAMPLE, EXAMPLE),
    ),
    st.sampled_from(OverlapKind),
    st.sampled_from([1, 3]),
)
flags, shares = st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def contrasts(draw: st.DrawFn, first: str, second: str, n: int, *, primary: bool) -> Contrast:
    """Return a contrast of n seeds with any outcome."""
    mean, half = draw(st.sampled_from([-0.3, -0.004, 0.0, 0.004, 0.3])), draw(st.sampled_from([0.005, 0.02, 0.5, 0.8]))
    wins = draw(st.integers(0, n))
    need = st.none() | st.sampled_from([(4, 4), (1200, None), (4, 18)])
    sizes = st.lists(
        st.builds(SampleSizeEstimate, half_width=st.sampled_from([0.01, 0.005]), seeds=need, units=need), max_size=2
    )
    return verdicts.contrast(
        first,
        second,
        primary=primary,
        outcome=draw(st.sampled_from(Outcome)),
        by_less_than_margin=draw(flags),
        mean=mean,
        low=max(mean - half, -1.0),
        high=min(mean + half, 1.0),
        p=0.04,
        p_adjusted=0.2,
        p_sign_flip=draw(st.sampled_from([None, 0.25])),
        half_width_infinite_seeds=half * draw(st.sampled_from([0.1, 0.5, 0.8, 0.99])),
        wins=wins,
        losses=draw(st.integers(0, n - wins)),
        n=n,
        sample_sizes=draw(sizes),
    )


@st.composite
def arm_results(draw: st.DrawFn, name: str, n: int, *, target: bool) -> ArmResult:
    """Return an arm of n seeds."""
    to_target = None
    if target:
        reached = draw(st.integers(0, n))
        median = draw(st.sampled_from([1.0, 2.5, 7.0])) if 2 * reached > n else None
        to_target = verdicts.times_to_target(TimeToTarget(median=median, reached=reached, n=n))
    val, test = draw(shares), draw(shares)
    seeds = [verdicts.seed_result(seed, val=val, test=test) for seed in range(n)]
    diverged = draw(st.sampled_from([[], [0], list(range(n))]))
    return verdicts.arm_result(name, seeds, diverged=diverged, to_target=to_target)


@st.composite
def data_efficiencies(draw: st.DrawFn, first: str, reference: str, n: int) -> DataEfficiency:
    """Return a data efficiency with two fractions."""
    ends = st.none() | st.sampled_from([0.3, 1.0, 2.5])
    factor = draw(ends)
    equivalence = LabelEquivalence(
        fraction=0.1, factor=factor, low=draw(ends), high=draw(ends), min_factor=0.1, max_factor=10.0,
        more=factor is None and draw(flags),
    )  # fmt: skip
    crossings = st.none() | st.builds(Crossover, fraction=st.just(0.3), low=ends, high=ends)
    return DataEfficiency(
        first=first,
        reference=reference,
        level=0.95,
        n=n,
        equivalences=[equivalence, equivalence.model_copy(update={"fraction": 1.0})],
        crossover=draw(crossings),
    )


@st.composite
def varied_verdicts(draw: st.DrawFn) -> Verdict:
    """Return a verdict with any of the parts that a verdict may have."""
    names = draw(st.lists(st.sampled_from(ARMS), min_size=2, max_size=4, unique=True))
    n, target, budget = draw(st.sampled_from([1, 2, 3, 5])), draw(flags), draw(st.sampled_from(BUDGETS))
    arms = [draw(arm_results(name, n, target=target)) for name in names]
    pairs = list(combinations(names, 2)) if n > 1 else []
    families = [
        [draw(contrasts(*pair, n, primary=not place)) for place, pair in enumerate(pairs)]
        for _family in range(draw(st.integers(1, 3)))
    ]
    result = ArmSearch(arm=names[0], selected=0.1, at_edge=draw(flags), tried=[])
    group = SearchGroup(budget=budget, seed=draw(st.sampled_from([None, 3])), grid=[0.1], arms=[result])
    search = [group] if draw(flags) else []
    rows = draw(st.lists(st.sampled_from(names), unique=True))
    exposure = {
        name: Exposure(
            classes=[CLASS_NAME] * draw(st.integers(0, 7)),
            images=draw(st.sampled_from([None, 0, 1, 4])),
        )
        for name in draw(st.lists(st.sampled_from(names), unique=True))
    }
    interim = [
        InterimAnalysis(n=seeds, p=0.04, boundary=0.01, stopped=draw(flags)) for seeds in (3, 4, 5)
    ][: draw(st.integers(0, 3))]  # fmt: skip
    evaluation = EvaluationImages(
        split="test",
        images=100,
        units=draw(st.sampled_from([100, 24])),
        declared=draw(st.sampled_from(["none", "train+val"])),
    )
    remaining = not_worse(families[0], names) or names
    question, selected = tuple(draw(st.permutations(names))[:2]), draw(st.sampled_from(remaining))
    common = {
        "evaluation": evaluation, "n": n, "question": question, "not_worse": remaining, "selected": selected
    }  # fmt: skip
    fractions = [draw(st.sampled_from([0.1, 1.0])) for _family in families]
    return verdicts.verdict(
        arms,
        **common,
        budget=budget,
        fraction=fractions[0],
        contrasts=families[0],
        conditions=[
            verdicts.verdict(arms, **common, budget=draw(st.sampled_from(BUDGETS)), fraction=share, contrasts=family)
            for share, family in zip(fractions[1:], families[1:], strict=True)
        ],
        one_split=draw(flags),
        grid_rows=[GridRow(variant=name, lr=0.1, edge=draw(st.sampled_from([None, "low", "high"]))) for name in rows],
        interim=interim,
        metric=draw(st.sampled_from(["accuracy", "balanced"])),
        margin=draw(st.sampled_from([0.01, 0.05])),
        target=0.75 if target else 0.0,
        network=NETWORK,
        labels=draw(st.none() | data_efficiencies(names[0], names[1], n)),
        search=search,
        exposure=exposure,
        overlaps=draw(st.lists(overlaps, max_size=2)),
    )
