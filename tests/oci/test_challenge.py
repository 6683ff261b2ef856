"""Challenges: whatever form RFC 9110 allows is read, and what it does not allow never raises."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reducto.oci.challenge import Challenge, parse_challenges

TOKEN_CHARACTERS = "!#$%&'*+.^_`|~-" + string.ascii_letters + string.digits
TOKEN = st.text(TOKEN_CHARACTERS, min_size=1, max_size=12)
QUOTABLE = st.text("\t" + "".join(map(chr, range(0x20, 0x7F))), max_size=20)
TOKEN68 = st.builds(
    lambda text, tail: text + tail, st.text("Aa0._~+/-", min_size=1, max_size=8), st.text("=", max_size=2)
)
SPACE = st.sampled_from(["", " ", "\t "])
CASE = st.sampled_from([str.lower, str.upper, str.title])


def written(name: str, value: str, quoted: bool, escaped: bool, space: str) -> str:
    """One of the ways to write a parameter."""
    if quoted or not value or not set(value) <= set(TOKEN_CHARACTERS):
        value = "".join(f"\\{c}" if escaped or c in '"\\' else c for c in value)
        value = f'"{value}"'
    return f"{name}{space}={space}{value}"


@st.composite
def written_challenges(draw: st.DrawFn) -> tuple[list[Challenge], list[str]]:
    """Challenges, and one way to spread them over header fields."""
    expected, texts = [], []
    for _ in range(draw(st.integers(0, 3))):
        scheme, case = draw(TOKEN), draw(CASE)
        parameters = draw(st.dictionaries(TOKEN.map(str.lower), TOKEN | QUOTABLE, max_size=3))
        token68 = "" if parameters else draw(st.just("") | TOKEN68)
        how = draw(st.tuples(st.booleans(), st.booleans(), SPACE))
        text = f"{how[2]},{how[2]}".join(written(case(name), value, *how) for name, value in parameters.items())
        expected.append(Challenge(scheme.lower(), parameters, token68))
        texts.append(f"{case(scheme)} {text or token68}".rstrip(" "))
    if draw(st.booleans()):
        return expected, texts
    return expected, [f"{draw(SPACE)},{draw(SPACE)}".join(texts)]


@given(written_challenges())
def test_every_way_to_write_challenges_is_read(case: tuple[list[Challenge], list[str]]) -> None:
    expected, fields = case
    assert parse_challenges(fields) == expected


@given(st.lists(st.text(st.one_of(st.sampled_from('",=; \\\tBasic'), st.characters()), max_size=60), max_size=3))
def test_nonsense_never_raises(fields: list[str]) -> None:
    for challenge in parse_challenges(fields):
        assert challenge.scheme == challenge.scheme.lower() != ""


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "registry.example",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('bearer scope = "x" , REALM = "y"', [Challenge("bearer", {"scope": "x", "realm": "y"})]),
        (
            'Negotiate, Basic realm="a, b=c", charset="UTF-8", Bearer realm=https://auth.example/token,service=x',
            [
                Challenge("negotiate"),
                Challenge("basic", {"realm": "a, b=c", "charset": "UTF-8"}),
                Challenge("bearer", {"realm": "https://auth.example/token", "service": "x"}),
            ],
        ),
        (r'Basic realm="say \"please\" \\ now"', [Challenge("basic", {"realm": 'say "please" \\ now'})]),
        ("Negotiate a87421000492aa874209af8bc028==", [Challenge("negotiate", {}, "a87421000492aa874209af8bc028==")]),
        (",, Basic realm=a ,,", [Challenge("basic", {"realm": "a"})]),
        ('Basic realm="a", realm="b"', [Challenge("basic", {"realm": "a"})]),
        ('Bearer realm="never closed', [Challenge("bearer", {"realm": "never closed"})]),
        ("", []),
    ],
)
def test_challenges_of_servers(field: str, expected: list[Challenge]) -> None:
    assert parse_challenges([field]) == expected


def test_a_long_field_takes_no_long_time() -> None:
    assert len(parse_challenges(["Basic realm=x," * 20_000])) == 20_000
    assert parse_challenges(['"' * 200_000 + "," * 200_000]) == []
