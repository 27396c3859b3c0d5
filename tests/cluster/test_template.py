"""Configuration files are filled in by plain substitution, and a misspelt name is an error."""

from pathlib import Path

import pytest

from deploy.local.template import render, render_file


def test_names_in_braces_become_values_and_nothing_else_changes() -> None:
    text = "listen ${HOST}:${PORT};\nset $host $PORT ${lower} $${x};\n# ${NAMES} are filled in\n"
    assert render(text, {"HOST": "127.0.0.1", "PORT": 80}) == (
        "listen 127.0.0.1:80;\nset $host $PORT ${lower} $${x};\n# ${NAMES} are filled in\n"
    )


def test_a_value_is_not_looked_at_again() -> None:
    assert render("${A} ${B}", {"A": "${B}", "B": "b"}) == "${B} b"


def test_a_name_without_a_value_and_a_value_without_a_name_are_refused() -> None:
    with pytest.raises(KeyError, match="PORT"):
        render("${HOST}:${PORT}", {"HOST": "a"})
    with pytest.raises(KeyError, match="PROT"):
        render("${HOST}", {"HOST": "a", "PROT": 1})


def test_a_file_is_written_filled_in(tmp_path: Path) -> None:
    source, target = tmp_path / "in.conf", tmp_path / "out.conf"
    source.write_text("port = ${PORT} # größer\n", encoding="utf-8")
    render_file(source, target, {"PORT": 1})
    assert target.read_text(encoding="utf-8") == "port = 1 # größer\n"
