"""The report of networks and classical solvers on one data set: what is shown, and how a browser shows it."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib import image

from variform.benchmarks.report import write_report


def spread(median, n=600, attempted=600):
    return {"median": median, "q1": 0.7 * median, "q3": 1.4 * median, "mean": median, "n": n, "attempted": attempted}


def on_sets(error, factors, n=600, attempted=600):
    return {name: spread(factor * error, n, attempted) for name, factor in factors.items()}


def fem(label, error, wall_s):
    row = {"method": "fem-batched", "label": label, "status": "done", "command": "variform bench darcy"}
    row |= {"metrics": {"relative_l2": error}, "cost": {"wall_s": wall_s, "dofs": 7225}, "scores": scores(error)}
    return row | {"tests": on_sets(error, {"test": 1, "contrast": 1.1, "finer grid": 0.9}, 200, 200)}


def scores(error):
    return {"vrmse": spread(2 * error), "pearson": spread(1 - error**2), "frmse_low": spread(error / 3)}


def network(method, label, error, wall_s, **more):
    times = np.linspace(0.1, 2, 20)
    frames = {key: (s * error * np.exp(times)).tolist() for key, s in {"median": 1, "q1": 0.7, "q3": 1.5}.items()}
    row = {"method": method, "label": label, "status": "done", "seed": 1, "seeds": 3, "scores": scores(error)}
    row |= {"metrics": {"relative_l2": error}, "tests": on_sets(error, {"test": 1, "contrast": 4, "finer grid": 1.3})}
    row |= {"cost": {"wall_s": wall_s, "training_s": 1620.0, "data_s": 412.0, "parameters": 1188353}}
    row |= {"equal": {"classical_s": 9e-3, "speedup": 9e-3 / wall_s, "pays_after": 250864.2}}
    row |= {"sizes": [[250, 2 * error], [1000, error]], "history": [[i, 1 / (1 + i)] for i in range(500)]}
    row |= {"figure": "samples.png", "worst": "worst.png", "frames": frames | {"times": times.tolist()}}
    return row | {"command": f"variform train {method} data-0a1b2c.h5 {'--set learning_rate=0.001 ' * 5}"} | more


LONG = "Transolver, 64 slices, width 128, eight blocks, gradients clipped at 0.1, one cycle"
RESULTS = {
    "suite": "darcy",
    "title": "Learned operators beside classical solvers",
    "environment": {"device": "A processor", "path": "/a/very/long/path" * 12},
    "tasks": [
        {
            "name": "darcy",
            "title": "Two-phase Darcy flow, K = 12 or 3",
            "reference": {"method": "fem-batched on 336 cells a side", "estimated_error": 4e-4},
            "sets": {
                "test": {"count": 200, "points": 85, "kind": "same"},
                "contrast": {"count": 100, "points": 85, "kind": "shifted"},
                "finer grid": {"count": 50, "points": 169, "kind": "resolution"},
            },
            "formulas": {"vrmse": "sqrt(mean_x e^2 / (var_x y + 1e-7)) <per sample>"},
            "classical": "the batched solver on coarser meshes, in float64",
            "rows": [
                fem("FEM P1, an eighth of the reference's cells a side", 1.9e-2, 2.1e-3),
                fem("FEM P1, a quarter", 5.6e-3, 9e-3),
                fem("FEM P1, half", 1.3e-3, 4.6e-2),
                network("fno", "FNO", 8.3e-3, 9e-4, stale="made before the schedule <was> changed"),
                network("transolver", LONG, 6.1e-3, 6.5e-3),
                network("unet", "U-Net", 1.1e-2, 7e-4, failures=["seed 2: the loss was not finite at epoch 31"])
                | {"tests": on_sets(1.1e-2, {"test": 1, "contrast": 8, "finer grid": 6}, 397, 400)},
                network("deeponet", "DeepONet", 3.4e-2, 2e-4),
                {"method": "upt", "label": "UPT", "status": "failed", "reason": "seed 0: out of memory"}
                | {"seeds": 3, "failures": ["seed 0: out of memory"]},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for name in ("samples.png", "worst.png"):
        image.imsave(folder / name, np.arange(12.0).reshape(3, 4))
    return write_report(RESULTS, folder)


@pytest.fixture(scope="module")
def page(path):
    """What stands in the page, without its scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def part(page, begin, end):
    return page[page.index(begin) :].split(end)[0]


def test_the_summary_comes_first_and_says_who_wins_and_when_it_pays(page):
    assert page.index('id="summary"') < page.index('id="task-1"')
    summary = part(page, 'id="summary"', "</section>")
    for text in ("6.1 × 10⁻³", "[4.3, 8.5] × 10⁻³", "1.4 times quicker", "251\u202f000 solutions", "4.0 × 10⁻⁴"):
        assert text in summary, text
    for warning in ("failed: UPT", "old numbers: FNO", "1 of 3 trainings failed: U-Net"):
        assert warning in summary
    assert "600 of 600" in summary and "200 of 200" in summary


def test_old_and_failed_rows_are_marked_with_their_reasons(page):
    assert page.count("<tr data-status=") == 8 and page.count(" data-stale>") == 1
    assert '<span class="stale">Old numbers</span> made before the schedule &lt;was&gt; changed' in page
    assert '<span class="status">1 failed</span>' in page and "seed 2: the loss was not finite at epoch 31" in page
    assert "397 of 400 used" in page


def test_every_score_stands_beside_its_formula_and_under_its_method(page):
    table = part(page, '<details class="scores">', "</details>")
    assert html.escape(RESULTS["tasks"][0]["formulas"]["vrmse"]) in table
    assert table.count('<th scope="col">') == 1 + 7 and table.count("<td ") == 3 * 7
    assert "0.999963" in table  # a correlation near one keeps what tells it from one


def test_charts_have_keys_and_words_for_those_who_do_not_see_them(page):
    names = re.findall(r'class="plot" id="task-1-(\w+)" role="img" aria-label="([^"]+)"', page)
    assert [name for name, _ in names] == ["cost", "shift", "sizes", "resolution", "frames", "loss"]
    assert all(re.search(r"FNO|\d × 10", alt) for _, alt in names)
    assert page.count('<ul class="key">') == 6 and page.count("<summary>The numbers</summary>") == 3
    assert "Training loss against epoch of" in page


def test_every_picture_has_words(page):
    alts = re.findall(r'<img [^>]*alt="([^"]+)"', page)
    assert len(alts) == 8 and sum(alt.startswith("Worst cases of") for alt in alts) == 4


def test_counts_may_stand_for_test_sets(tmp_path):
    results = json.loads(json.dumps(RESULTS))
    results["tasks"][0]["sets"] = {"test": 200, "contrast": 100}
    page = write_report(results, tmp_path).read_text()
    assert "task-1-shift" in page and "task-1-resolution" not in page


def chromium(tmp_path, page):
    """The document after its scripts ran, and what the browser said."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium to open the report with")
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [
        found,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-sync",
        *quiet,
        "--window-size=1400,1000",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    ran = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=300)
    return ran.stdout, ran.stderr


FRAMES = """<!DOCTYPE html><meta charset="utf-8">{frames}<pre id="found"></pre><script>
addEventListener("load", () => setTimeout(() => {{
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map((f) => {{
    const page = f.contentDocument;
    for (const details of page.querySelectorAll("details")) details.open = true;
    const root = page.documentElement, inside = ".scroll, .picture, pre, code, svg, details:not([open])";
    const wide = [...page.body.querySelectorAll("*")].filter((e) =>
      !e.closest(inside) && e.getBoundingClientRect().right > root.clientWidth + 1);
    return {{
      width: root.clientWidth, scroll: root.scrollWidth, wide: wide.map((e) => e.outerHTML.slice(0, 80)),
      drawn: [...page.querySelectorAll(".plot")].map((p) => p.querySelectorAll(".main-svg .trace").length),
    }};
  }}));
}}, 3000));
</script>"""


@pytest.mark.slow
def test_a_browser_draws_the_charts_and_nothing_is_wider_than_a_phone_or_a_desk(path, tmp_path):
    # A window is at least 500 pixels wide, a frame as narrow as a phone.
    source = html.escape(path.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width="{w}" height="900" srcdoc="{source}"></iframe>' for w in (390, 1280))
    page = tmp_path / "frames.html"
    page.write_text(FRAMES.format(frames=frames), encoding="utf-8")
    dom, said = chromium(tmp_path, page)
    assert ":CONSOLE:" not in said
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))
    assert len(found) == 2
    for view in found:
        assert view["scroll"] <= view["width"] and view["wide"] == []
        assert len(view["drawn"]) == 6 and all(view["drawn"]), view["drawn"]
