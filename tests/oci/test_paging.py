"""Link fields: whatever a registry puts into one, the next page is found, or that there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reducto.oci.paging import next_page

HERE = "http://registry.example:5000/art/v2/x/tags/list?n=10"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (['</art/v2/x/tags/list?n=10&last=b>; rel="next"'], "http://registry.example:5000/art/v2/x/tags/list?n=10&last=b"),
        (["<?next_page=tok10>; rel=next"], "http://registry.example:5000/art/v2/x/tags/list?next_page=tok10"),
        (["<//other.example/p?t=a,b;c>;rel=next"], "http://other.example/p?t=a,b;c"),
        (["<https://other.example/p>; title=\"a;b,c\"; REL=\"prev NEXT\""], "https://other.example/p"),
        (["</first>; rel=first, </second> ; rel = next"], "http://registry.example:5000/second"),
        (["</first>; rel=first", "</second>; rel=next"], "http://registry.example:5000/second"),
        (["<list?p=2>; rel=next; rel=prev"], "http://registry.example:5000/art/v2/x/tags/list?p=2"),
        (["</a>; rel=prev; rel=next"], None),
        (["</a>; rel=nextly"], None),
        (["</a>; rel=next; anchor=\"#part\""], None),
        (["</a>"], None),
        (["rel=next"], None),
        (["<http://[::1/broken>; rel=next"], None),
        ([], None),
    ],
)  # fmt: skip
def test_the_next_page(fields: list[str], expected: str | None) -> None:
    assert next_page(fields, HERE) == expected


def test_a_local_stores_path_is_resolved_to_a_path() -> None:
    assert next_page(["</v2/x/tags/list?last=b>; rel=next"], "/v2/x/tags/list") == "/v2/x/tags/list?last=b"


@given(st.lists(st.text(st.one_of(st.sampled_from('<>;,="\\ rel next'), st.characters()), max_size=80), max_size=3))
def test_nonsense_never_raises(fields: list[str]) -> None:
    next_page(fields, HERE)


@given(st.text("ABCabc0123456789-._~%=&?/+:,;!", max_size=60))
def test_opaque_tokens_come_back_as_they_are(token: str) -> None:
    found = next_page([f'</v2/x/tags/list?next={token}>; rel="next"'], "http://r.example/v2/x/tags/list")
    assert found == f"http://r.example/v2/x/tags/list?next={token}"
