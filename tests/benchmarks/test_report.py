"""The report: complete, honest about what failed, and whole in one file."""

import copy
import html
import json
import re
import struct
import zlib

import pytest

from variform.benchmarks import looks, report, wording
from variform.benchmarks.report import write_report
from variform.benchmarks.schema import Row
from variform.errors import InputError


def png(width=3, height=2):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"".join(b"\0" + b"\x20\x80\xc0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return report.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def row(method, label, **more):
    row = {"method": method, "label": label, "status": "done", "command": f"variform solve darcy --method {method}"}
    return row | {"metrics": {"relative_l2": 1.2e-3}, "cost": {"wall_s": 0.12}} | more


RESULTS = {
    "suite": "demo",
    "title": "A <demo> suite",
    "created": "2026-03-01T14:05:59+00:00",
    "command": "variform bench demo --out report",
    "wall_s": 72.0,
    "environment": {"variform": "0.1.0", "device": "A processor", "threads": 2, "gpu": None},
    "tasks": [
        {
            "name": "darcy",
            "title": "Steady flow",
            "description": "Water & ground.",
            "form": "inner(k * grad(u), grad(v)) * dx",
            "strong": "-div(k grad u) = f",
            "reference": {"method": "fem P2", "estimated_error": 1e-5, "figure": "darcy.png"},
            "rows": [
                row("fem", "FEM P1, h<0.1", figure="fem.png", quantities={"flow": {"value": 1.98, "reference": 2.0}}),
                row("fem", "FEM P2", metrics={"relative_l2": 2e-5, "relative_h1": None, "residual": float("nan")}),
                row(
                    "pinn",
                    "PINN <script>alert(1)</script>",
                    figure="lost.png",
                    history=[[0, 1.0], [10, 0.1], [20, float("nan")], [30, 1e-3]],
                    cost={"wall_s": 0.004, "training_s": 60.0, "data_s": 12.0, "parameters": 12737},
                ),
                row("fno", "FNO", status="failed", reason="diverged: loss > 1e9 & rising", metrics={}),
                row("spectral", "Spectral", status="not applicable", reason="not <periodic>", metrics={}, cost={}),
            ],
        },
        {"name": "empty", "title": "Only failures", "rows": [row("fem", "FEM", status="failed", metrics={}, cost={})]},
    ],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for name in ("darcy.png", "fem.png"):
        (folder / name).write_bytes(png())
    return write_report(RESULTS, folder)


@pytest.fixture(scope="module")
def page(path):
    return path.read_text(encoding="utf-8")


def without_plotly(page):
    assert page.count(report._plotly()) == 1
    return page.replace(report._plotly(), "")


def test_the_report_loads_nothing(page):
    page = without_plotly(page)
    sources = re.findall(r"""(?:src|href|action|poster|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert sources and all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert not re.search(r"url\(|@import|//[a-z]", page)
    assert "default-src 'none'" in page


def test_every_row_stays_with_label_reason_and_command(page):
    for task in RESULTS["tasks"]:
        for row in task["rows"]:
            for text in (row["label"], row.get("reason"), row["command"]):
                assert text is None or html.escape(text) in page
    assert page.count("<tr data-status=") == 6
    assert page.count('<tr data-status="failed">') == 2
    assert "3 of 5 attempted" in page and "2 failed, 1 more not applicable" in page


def test_what_others_wrote_is_escaped(page):
    assert "<script>alert" not in page and "<demo>" not in page and "<periodic>" not in page
    plots = re.search(r'<script type="application/json" id="plots">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in plots
    names = [trace.get("name") for trace in json.loads(plots)["task-1-loss"]["data"]]
    assert names == ["3  PINN &lt;script&gt;alert(1)&lt;/script&gt;"]  # plotly reads HTML in its labels


def test_numbers_are_said_for_people(page):
    body = without_plotly(page)
    for text in ("1.2 × 10⁻³", "0.12 s", "4 ms", "1 min 12 s", "12\u202f737", "−1 %", "1 March 2026, 14:05 UTC"):
        assert text in body, text
    visible = re.sub(r"<(script|style).*?</\1>", "", body, flags=re.DOTALL)
    assert not re.search(r"\b(nan|None|inf)\b", visible)


def test_the_smallest_error_is_bold_and_marked_where_the_reference_is_no_better(page):
    assert '<span class="best">2.0 × 10⁻⁵<sup>†</sup></span>' in page
    assert page.count("<sup>†</sup>") == 2  # in the summary and in the table


def test_a_missing_picture_leaves_a_note(page):
    assert page.count("<img ") == 2 and 'width="3" height="2"' in page
    assert "No picture: lost.png: No such file" in page


@pytest.mark.parametrize("figure", ["../secret.png", "/etc/hostname"])
def test_a_picture_outside_the_folder_is_not_embedded(figure, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    results = copy.deepcopy(RESULTS)
    results["tasks"][0]["rows"][0]["figure"] = figure
    page = write_report(results, tmp_path / "report").read_text()
    assert f"{figure} lies outside" in page and "<img " not in page


def test_a_file_that_is_no_picture_leaves_a_note(tmp_path):
    (tmp_path / "fem.png").write_text("<svg onload=alert(1)>")
    page = write_report(RESULTS, tmp_path).read_text()
    assert "fem.png is not a PNG" in page and "<svg onload" not in page


def test_the_chart_shows_each_cost_and_the_error_of_the_reference(page):
    plots = json.loads(re.search(r'id="plots">(.*?)</script>', page, re.DOTALL)[1])
    assert set(plots) == {"task-1-cost", "task-1-loss"}  # where nothing succeeded there is nothing to draw
    cost = plots["task-1-cost"]
    symbols = {(t["legendgroup"], t["marker"]["symbol"]): (t["x"], t["y"]) for t in cost["data"] if "marker" in t}
    assert symbols["fem", "circle"] == ([0.12, 0.12], [1.2e-3, 2e-5])
    assert symbols["pinn", "square"] == ([0.004], [1.2e-3])
    assert symbols["pinn", "square-open"] == ([72.004], [1.2e-3])
    assert cost["layout"]["shapes"][0]["y0"] == 1e-5
    assert plots["task-1-loss"]["data"][0]["y"] == [1.0, 0.1, None, 1e-3]


def test_methods_differ_by_shape_and_colour():
    found = looks.looks(Row(method=str(i), label="", status="done") for i in range(30))
    assert len(set(found.values())) == 30


def test_results_that_lack_something_are_refused_by_name(tmp_path):
    results = copy.deepcopy(RESULTS)
    del results["tasks"][0]["rows"][1]["label"]
    with pytest.raises(InputError, match=r"results\.tasks\.0\.rows\.1\.label: Field required"):
        write_report(results, tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_least_that_can_be_said_still_makes_a_page(tmp_path):
    page = write_report({"suite": "s", "title": "Nothing", "tasks": []}, tmp_path).read_text()
    assert "Nothing" in page and "0 of 0 attempted" in page


def test_a_failed_write_leaves_the_old_report_alone(tmp_path, monkeypatch):
    path = write_report(RESULTS, tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(RESULTS, tmp_path)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "results.csv"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00012, "0.12 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.10 s"),
        (0.123, "0.12 s"),
        (3.41, "3.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (72, "1 min 12 s"),
        (3599.9, "1 h"),
        (3900, "1 h 5 min"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert wording.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.2e-3, "1.2 × 10⁻³"), (9.96e-4, "1.0 × 10⁻³"), (3.0, "3.0"), (0.0, "0"), (None, "–"), (float("inf"), "–")],
)
def test_errors_are_said_with_a_power_of_ten(value, text):
    assert wording.error_text(value) == text
