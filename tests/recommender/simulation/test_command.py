import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.simulating import BEGIN, HEADER, Row, constant, text_of
from vgpu import cli
from vgpu.errors import ExitCode

EXAMPLE = Path(__file__).parents[2] / "data" / "simulate"
SLICE = ("--tflops-request", "10", "--tflops-limit", "20", "--vram-request", "16Gi", "--vram-limit", "16Gi")


def simulate(*arguments: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["simulate", *arguments], input=text)


@pytest.fixture
def usage(tmp_path: Path) -> str:
    """Forty minutes of a use that the slice is too small for."""
    return written(tmp_path, constant(30, 4e9, minutes=40))


def written(folder: Path, rows: list[Row]) -> str:
    file = folder / "usage.csv"
    file.write_text(text_of(rows))
    return str(file)


def document(*arguments: str, text: str | None = None) -> Any:
    result = simulate(*arguments, "--output", "json", text=text)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def refused(*arguments: str, text: str | bytes | None = None) -> str:
    result = simulate(*arguments, text=text)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_the_last_step_and_a_summary_are_one_json_document(usage: str) -> None:
    found = document(usage, *SLICE)
    assert list(found) == ["last", "summary"]
    assert found["last"]["time"] == "2025-10-09T09:40:00Z"
    assert found["last"]["resources"]["tflops"]["samples"] == 41
    assert found["summary"]["steps"] == 41
    assert found["summary"]["resources"]["tflops"]["baseline"]["shareOfTimeAboveRequest"] == 1.0
    assert found["summary"]["resources"]["tflops"]["recommendation"]["shareOfTimeAboveRequest"] == 0.0


def test_all_steps_are_in_the_document_where_they_are_asked_for(usage: str) -> None:
    found = document(usage, *SLICE, "--all-steps")
    assert len(found["steps"]) == 41
    assert found["steps"][-1] == found["last"]
    [message] = [step["messages"] for step in found["steps"] if step["messages"]]
    assert "TFLOPS scaled up due to (10) below lower bound (" in message[0]


def test_the_interval_is_the_time_between_two_steps(usage: str) -> None:
    found = document(usage, *SLICE, "--all-steps", "--interval", "10m")
    times = ["2025-10-09T09:00:00Z", "2025-10-09T09:10:00Z"]
    assert [step["time"] for step in found["steps"]][:2] == times
    assert len(found["steps"]) == 5


def test_csv_is_a_line_a_step(usage: str) -> None:
    last = list(csv.DictReader(io.StringIO(simulate(usage, *SLICE, "--output", "csv").stdout)))
    every = list(
        csv.DictReader(io.StringIO(simulate(usage, *SLICE, "--output", "csv", "--all-steps").stdout))
    )
    assert (len(last), len(every)) == (1, 41)
    assert every[-1] == last[0]


def test_a_table_is_plain_and_whole_where_there_is_no_terminal(usage: str) -> None:
    result = simulate(usage, *SLICE, "--all-steps")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    [line] = [line for line in result.stdout.splitlines() if "scaled up" in line]
    assert line.startswith("2025-10-09T09:29:00Z")
    assert "TFLOPS scaled up due to (10) below lower bound (" in line
    assert "41 samples taken" in result.stdout


def test_brackets_in_names_and_messages_are_printed_as_they_are(tmp_path: Path, usage: str) -> None:
    profile = tmp_path / "profile.json"
    rule = {"enable": True, "name": "[bold]x[/bold]", "start": "0 9 * * *", "end": "0 10 * * *"}
    profile.write_text(json.dumps({"autoScalingConfig": {"cronScalingRules": [rule]}}))
    output = simulate(usage, *SLICE, "--profile", str(profile), "--all-steps").stdout
    assert output.count("[bold]x[/bold]") > 41


def test_usage_is_read_from_standard_input(usage: str) -> None:
    assert document("-", *SLICE, text=Path(usage).read_text()) == document(usage, *SLICE)


def test_usage_may_be_packed(tmp_path: Path, usage: str) -> None:
    packed = tmp_path / "usage.csv.gz"
    packed.write_bytes(gzip.compress(Path(usage).read_bytes()))
    assert document(str(packed), *SLICE) == document(usage, *SLICE)


def test_rows_in_any_order_give_the_same(tmp_path: Path, usage: str) -> None:
    lines = Path(usage).read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert document(str(other), *SLICE) == document(usage, *SLICE)


def test_what_was_dropped_is_counted(tmp_path: Path) -> None:
    rows = [*constant(30, 4e9, minutes=40), (BEGIN, "web-0", "nan", -1), (BEGIN, "web-0", 1e30, 1)]
    found = document(written(tmp_path, rows), *SLICE)["summary"]["resources"]
    assert found["tflops"]["samples"] == {"taken": 41, "dropped": {"not_finite": 1, "implausible": 1}}
    assert found["vram"]["samples"] == {"taken": 41, "dropped": {"negative": 1, "duplicate": 1}}


def test_without_a_slice_one_is_assumed_and_that_is_said(usage: str) -> None:
    result = simulate(usage, "--output", "json")
    notes = result.stderr.splitlines()
    assert [note.partition(":")[2].partition(":")[0] for note in notes] == [
        " no slice is given of tflops",
        " no slice is given of vram",
    ]
    summary = json.loads(result.stdout)["summary"]
    assert summary["baselineAssumed"] == ["tflops", "vram"]
    assert summary["resources"]["tflops"]["baseline"] is None


def test_the_slice_of_the_command_line_wins_over_the_profile(usage: str) -> None:
    found = document(usage, "--profile", str(EXAMPLE / "profile.yaml"), "--tflops-limit", "90")
    assert found["summary"]["baseline"]["limits"] == {"tflops": "90", "vram": "40Gi"}


def test_the_card_caps_and_bounds_what_can_be_true(tmp_path: Path) -> None:
    rows = [*constant(64, 14e9, minutes=40), (BEGIN + 41 * 60, "web-0", 100, 90e9)]
    found = document(written(tmp_path, rows), *SLICE, "--gpu-model", "T4", "--gpu-memory", "16Gi")
    assert found["last"]["recommendation"]["limits"] == {"tflops": "65", "vram": "16Gi"}
    dropped = [each["samples"]["dropped"] for each in found["summary"]["resources"].values()]
    assert dropped == [{"implausible": 1}] * 2


def test_a_usage_step_takes_the_maximum_of_each(tmp_path: Path) -> None:
    rows: list[Row] = [(BEGIN + 15 * index, "a", index % 4, "") for index in range(1, 121)]
    found = document(written(tmp_path, rows), *SLICE, "--usage-step", "1m")
    assert found["last"]["resources"]["tflops"]["samples"] == 30


def test_columns_without_a_meaning_are_named(usage: str, tmp_path: Path) -> None:
    lines = Path(usage).read_text().splitlines()
    wide = tmp_path / "wide.csv"
    wide.write_text("\n".join([f"{lines[0]},node", *(f"{line},n1" for line in lines[1:])]))
    result = simulate(str(wide), *SLICE)
    assert result.stderr == "note: columns that mean nothing here are ignored: node\n"


def test_a_bad_row_is_one_message_and_exit_code_2() -> None:
    told = refused("-", *SLICE, text=f"{HEADER}\n0,a,1,1\n60,a,much,1\n")
    assert told.startswith("Error: standard input, line 3, column tflops: 'much' is not a number")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "standard input: is empty"),
        (b"\x00\xff\xfe" * 50, "standard input, line 1: "),
        (f"{HEADER}\n", "standard input: has no sample that can be taken (every field is empty)"),
        (f"{HEADER}\n0,a,nan,\n", "standard input: has no sample that can be taken (1 not_finite)"),
        (f"{HEADER}\n0,a,1,\n{BEGIN},a,1,\n", "choose a longer --interval, or look for a wrong timestamp"),
    ],
)
def test_what_cannot_be_simulated_is_one_message_and_exit_code_2(text: str | bytes, told: str) -> None:
    [line] = refused("-", *SLICE, text=text).splitlines()
    assert told in line


def test_a_wrong_profile_is_told_with_its_fields(tmp_path: Path, usage: str) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("autoScalingConfig: {autoSetResources: {minSamples: 0}}")
    told = refused(usage, "--profile", str(profile))
    assert told.startswith(f"Error: {profile}: spec.autoScalingConfig.autoSetResources.minSamples: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--interval", "0"), "'0' is too short: 0.1s or more is allowed"),
        (("--interval", "soon"), "'soon'"),
        (("--tflops-request", "much"), "'much' is not a quantity"),
        (("--vram-limit", "-1Gi"), "negative"),
        (("--output", "xml"), "'xml' is not one of 'table', 'json', 'csv'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(usage: str, arguments: tuple[str, str], told: str) -> None:
    stderr = refused(usage, *arguments)
    assert told in stderr
    assert arguments[0] in stderr


def test_a_file_that_is_not_there_is_a_usage_error() -> None:
    assert "File 'nowhere.csv' does not exist" in refused("nowhere.csv")


def test_rules_that_are_active_at_once_are_told(tmp_path: Path, usage: str) -> None:
    rule = {"enable": True, "start": "0 9 * * *", "end": "0 10 * * *"}
    profile = tmp_path / "profile.json"
    rules = [{**rule, "name": "one"}, {**rule, "name": "two"}]
    profile.write_text(json.dumps({"autoScalingConfig": {"cronScalingRules": rules}}))
    result = simulate(usage, *SLICE, "--profile", str(profile))
    assert result.exit_code == 0
    assert (
        'note: spec.autoScalingConfig.cronScalingRules: cron scaling rules "one" and "two"' in result.stderr
    )


def test_usage_of_vram_alone_gives_no_recommendation_and_that_is_said(tmp_path: Path) -> None:
    result = simulate(written(tmp_path, constant("", 4e9, minutes=40)), *SLICE)
    assert result.exit_code == 0
    assert result.stderr == (
        "note: it is too early for a recommendation from usage: Fewer than 30 samples so far "
        "(of TFLOPS, which count: 0)\n"
    )


def test_fields_that_nobody_knows_are_named(tmp_path: Path, usage: str) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("autoScalingConfig: {autoSetResources: {targetTflopPercentile: 0.99}}")
    result = simulate(usage, *SLICE, "--profile", str(profile))
    assert result.exit_code == 0
    assert result.stderr == (
        "note: spec.autoScalingConfig.autoSetResources has the field 'targetTflopPercentile', which is not "
        "known and configures nothing; did you mean targetTflopsPercentile?\n"
    )


def test_a_half_life_too_short_for_the_peak_window_is_refused_as_the_recommender_does(usage: str) -> None:
    told = refused(usage, "--half-life", "30m")
    assert "--half-life and --peak-window: half_life 1800 s is too short for peak_window 86400 s" in told
    assert simulate(usage, "--half-life", "30s", "--peak-window", "10s").exit_code == 0


def test_the_documentation_shows_what_is_printed() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "simulate.md").read_text()
    files = (str(EXAMPLE / "usage.csv"), "--profile", str(EXAMPLE / "profile.yaml"))
    printed = simulate(*files, "--interval", "10m").stdout
    shown = "\n".join(f"    {line}".rstrip() for line in printed.splitlines())
    assert shown.strip() in guide
