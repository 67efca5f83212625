"""Train on scikit-learn's digits 6 to 9 from scratch, and from weights pretrained on the digits 0 to 5.

One seed each demonstrates `train` but proves nothing; use `compare` for a comparison over several seeds.
"""

from __future__ import annotations

import sys

import headstart
from headstart.errors import HeadstartError


def main() -> None:
    """Pretrain on the source, train both runs, and print when each reached 75 % validation accuracy."""
    source = headstart.train("digits:0-5", epochs="3ep")
    scratch = headstart.train("digits")
    pretrained = headstart.train("digits", start=f"run:{source.folder}")
    for title, run in (("From scratch", scratch), ("From weights trained on the digits 0 to 5", pretrained)):
        reached = run.history.loc[run.history.val_accuracy >= 0.75, "epoch"]
        when = f"after epoch {reached.iloc[0]}" if len(reached) else "never"
        print(f"\n{title}: reached 75 % validation accuracy {when}.\n{run}\n  {run.folder}")  # noqa: T201
    print("\nSee the curves: headstart tensorboard runs")  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except HeadstartError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
