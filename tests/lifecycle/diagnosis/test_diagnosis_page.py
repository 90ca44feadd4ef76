"""docs/diagnosis.md is what the categories say, and every category has one place in it."""

from __future__ import annotations

from pathlib import Path

from podbay.lifecycle.diagnosis.catalog import FAMILIES, as_markdown, by_word, link_of

PAGE = Path(__file__).parents[3] / "docs" / "diagnosis.md"


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == as_markdown(), "run script/update-diagnosis"


def test_words_and_anchors_are_unique() -> None:
    listed = [each for _, categories in FAMILIES for each in categories]
    assert len(listed) == len(by_word()) == len({each.anchor for each in listed}) >= 40
    assert all(each.word.isalnum() and each.word[0].isupper() for each in listed)
    assert all(each.meaning.endswith(".") and each.fix.endswith(".") for each in listed)
    assert all("|" not in each.meaning + each.fix for each in listed)


def test_every_category_can_be_linked_to() -> None:
    text = PAGE.read_text()
    for word in by_word():
        page, _, anchor = link_of(word).partition("#")
        assert page == PAGE.name
        assert text.count(f'<a id="{anchor}"></a>') == 1
