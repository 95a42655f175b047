"""The menu: sorted, each name importable, and nothing else promised."""

from importlib import import_module

import pytest

import evals


def test_the_menu_is_sorted_and_listed() -> None:
    assert evals.__all__ == sorted(set(evals.__all__))
    assert set(dir(evals)) >= set(evals.__all__)


@pytest.mark.parametrize("name", evals.__all__)
def test_each_name_is_importable_and_documented(name: str) -> None:
    found = getattr(evals, name)
    assert found is getattr(import_module(found.__module__), name)
    assert found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        evals.__getattr__("nothing")
