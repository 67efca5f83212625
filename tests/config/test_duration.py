"""Durations are parsed, converted to steps, and rejected without a unit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.config.duration import Duration
from tests.messages import fields_of


@given(st.integers(0, 10**6), st.sampled_from(["ep", "st", "%"]))
def test_text_round_trip(value: int, unit: str) -> None:
    if unit == "%":
        value %= 101
    assert str(Duration.parse(f"{value}{unit}")) == f"{value}{unit}"
    assert Duration.parse(str(Duration.parse(f"{value} {unit}"))) == Duration(value, unit)  # type: ignore[arg-type]


@given(st.floats(0, 100), st.integers(1, 10**4))
def test_share_is_at_most_the_whole(share: float, whole: int) -> None:
    assert 0 <= Duration(share, "%").steps(7, whole=whole) <= whole


def test_conversion_to_steps() -> None:
    assert Duration.parse("10ep").steps(47) == 470
    assert Duration.parse("0.5ep").steps(47) == 24  # 23.5 rounds up
    assert Duration.parse("500st").steps(47) == 500
    assert Duration.parse("20%").steps(47, whole=470) == 94


@pytest.mark.parametrize(
    "text", ["10", "ep", "-1ep", "1.5st", "101%", "1000000001st", f"1{400 * '0'}ep", "10 epochs", "", "nan ep"]
)
def test_invalid_durations_are_rejected(text: str) -> None:
    with pytest.raises(ValueError) as error:
        Duration.parse(text)
    assert fields_of(error.value.args[0]) == {"text": text}


@pytest.mark.parametrize("number", [10, np.int64(10), 0.5, 10.0, True, -1, None], ids=str)
def test_values_of_python_without_a_unit_are_rejected(number: object) -> None:
    with pytest.raises(ValueError) as error:
        Duration.parse(number)  # type: ignore[arg-type]
    assert fields_of(error.value.args[0]) == {"text": number}


def test_share_needs_a_whole() -> None:
    with pytest.raises(ValueError, match="20%"):
        Duration(20, "%").steps(47)
