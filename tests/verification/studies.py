"""Made studies that have, between them, every part of a verdict."""

from tests.verification.made import Made

_GROUPS = tuple(number // 3 for number in range(90))
STUDIES = {
    "two arms": Made(protocol={"seeds": 5, "margin": "2pt"}),
    "equal arms in groups, with copies, balanced": Made(
        arms=("scratch", "scratch@adam", "imagenet"), skill=(0.7, 0.72, 0.9), units=_GROUPS, copies=(3, 4, 50),
        protocol={"metric": "balanced", "seeds": 4},
    ),
    "fractions and budgets": Made(
        protocol={"fractions": (0.1, 0.4, 1.0), "budgets": ("3ep", "10ep")}, skill=(0.9, 0.7),
        slope=(0.4, 0.05),
    ),
    "large effects of seeds": Made(
        skill=(0.6, 0.65), seed_effect=0.08, units=tuple(range(500)), protocol={"margin": "8pt"},
    ),
    "interim analyses": Made(
        arms=("scratch", "imagenet", "imagenet+frozen"), skill=(0.6, 0.65, 0.62),
        protocol={"seeds": 5, "interim": (3, 4, 5)},
    ),
    "varied field": Made(protocol={"vary": {"momentum": ("0", "0.9"), "schedule": ("cosine", "constant")}}),
    "grid of rates": Made(
        arms=("scratch", "scratch@adam"), skill=(0.5, 0.6, 0.7), protocol={"vary": {"lr": ("0.001", "0.01", "0.1")}},
    ),
    "search": Made(protocol={"search": "shared", "grid": (0.001, 0.01, 0.1), "search_seeds": 2}),
    "search beyond the grid": Made(
        protocol={"search": "shared", "grid": (0.01, 0.02), "search_seeds": 2}, peak=3.0, skill=(0.9, 0.95),
    ),
    "search per seed": Made(
        arms=("scratch", "imagenet+frozen"), peak=0.02, seed_effect=0.1,
        protocol={"search": "per-seed", "grid": (0.0001, 0.001, 0.01, 0.1, 1.0), "survivors": 1, "seeds": 4},
    ),
    "search per seed beyond the grid": Made(
        arms=("scratch", "imagenet"), peak=5.0, skill=(0.9, 0.95),
        protocol={"search": "per-seed", "grid": (0.001, 0.003, 0.01, 0.03), "budgets": ("3ep", "4ep")},
    ),
    "added seeds": Made(
        arms=("scratch", "imagenet", "imagenet+frozen"), skill=(0.6, 0.65, 0.62),
        protocol={"seeds": 3, "max_seeds": 12, "first_share": 0.7, "further": (4, 6)},
    ),
    "added seeds after interim analyses": Made(
        skill=(0.6, 0.62), protocol={"seeds": 5, "interim": (3, 5), "max_seeds": 7, "further": (6,)},
    ),
    "diverged arm": Made(diverged=("scratch",)),
    "one seed, all images copies": Made(protocol={"seeds": 1, "target": 0}, copies=tuple(range(60))),
    "too augmented": Made(epochs=6, skill=(0.9, 0.95)),
}  # fmt: skip
