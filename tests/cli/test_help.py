"""What the command line says of itself."""

from typer.testing import CliRunner

from xctvol.cli import app


def test_every_verb_fits_on_a_line_of_a_terminal():
    shown = CliRunner().invoke(app, ["--help"], terminal_width=80, env={"COLUMNS": "80"}).stdout
    verbs = shown.partition("Commands:")[2].strip().splitlines()
    assert len(verbs) >= 16
    assert all(verb.endswith(".") and not verb.endswith("...") for verb in verbs), shown
