import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.instruments.paper.figures import (
    confusion_grid,
    feature_planes,
    paired_differences,
)
from oacore.instruments.paper.overview import overview
from oacore.instruments.paper.saliency import saliency_over_slices
from oacore.instruments.paper.style import look, page_figure, publish_figure, save_figure
from oacore.instruments.paper.tables import (
    beside_table1,
    beside_table2,
    beside_table3,
    need_kept,
    page_table,
    publish_table,
    recipes,
    save_table,
    wide,
)
from oacore.metrics.scores import METRICS
from oacore.names import ANSWER_NAMES
from oacore.profile import load_profile
from oacore.results import keep

BACKBONES = ("resnet3d", "m3t", "nnmamba")
SUPERVISIONS = ("single_oa", "single_kl", "dual")
SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).resolve().parents[3]


def differences() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"series": series, "backbone": backbone, "metric": metric}
        for series in ("ours", "theirs")
        for backbone in BACKBONES
        for metric in METRICS
    ]
    table = pd.DataFrame(rows)
    table["value"] = rng.normal(0, 0.1, len(table))
    table["low"] = table["value"] - rng.uniform(0.01, 0.1, len(table))
    table["high"] = table["value"] + rng.uniform(0.01, 0.1, len(table))
    table["p_value"] = rng.uniform(0, 1, len(table)).round(3)
    table.loc[3, "p_value"] = 0.0002
    return table


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    kl = rng.integers(0, 5, 60)
    tables = []
    for backbone in BACKBONES:
        for supervision in SUPERVISIONS:
            guess = pd.Series(rng.integers(0, 5, 60), dtype="Int64")
            guess = guess if supervision != "single_oa" else guess.mask(guess >= 0)
            table = pd.DataFrame({"kl": kl, "oa": (kl >= 2).astype(int), "pred_kl": guess})
            table["pred_oa"] = rng.integers(0, 2, 60)
            tables.append(table.assign(backbone=backbone, supervision=supervision))
    return pd.concat(tables, ignore_index=True).assign(seed=0, split="test")


def points() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    kl = np.repeat(np.arange(5), 8)
    tables = [
        pd.DataFrame(
            {
                "kl": kl,
                "pc1": kl + rng.normal(0, 1, 40),
                "pc2": rng.normal(0, 5, 40),
                "backbone": backbone,
                "supervision": supervision,
            }
        )
        for backbone in BACKBONES
        for supervision in SUPERVISIONS
    ]
    return pd.concat(tables, ignore_index=True)


SHAPE, SPACING = (20, 32, 30), (3.0, 2.5, 2.0)


def knee() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, SHAPE)
    cartilage = np.zeros(SHAPE, dtype=bool)
    cartilage[4:16, 8:24, 14:17] = True
    maps = {title: rng.uniform(0, 1, SHAPE) for title in ANSWER_NAMES.values()}
    return image, cartilage, maps


def fig3(**options):
    image, cartilage, maps = knee()
    return saliency_over_slices(image, cartilage, maps, SPACING, note="A note.", **options)


FIGURES = {
    "fig1": overview,
    "fig2": lambda: paired_differences(differences(), "A note."),
    "fig3": fig3,
    "fig4": lambda: feature_planes(points(), "A note."),
    "fig5": lambda: confusion_grid(predictions(), "A note."),
}
ALT = "A title with a < and an &. What is seen."


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("figures")
    return {name: save_figure(make(), folder, name, ALT) for name, make in FIGURES.items()}


def drawn(fig):
    """The figure as it is laid out, and its renderer."""
    canvas = FigureCanvasAgg(fig)
    with look():
        canvas.draw()
    return canvas.get_renderer()


def texts(fig) -> list[Text]:
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]


def shown(fig) -> list[Text]:
    """Texts on the canvas: ticks beyond an axis' limits are made but not drawn."""
    hidden = set()
    for ax in fig.axes:
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            ends = sorted((low, high))
            for tick in axis.get_major_ticks():
                if not ends[0] - 1e-9 <= tick.get_loc() <= ends[1] + 1e-9 or not ax.axison:
                    hidden |= {tick.label1, tick.label2}
    return [t for t in texts(fig) if t not in hidden]


@pytest.mark.parametrize("name", FIGURES)
def test_words_are_large_enough_whole_and_apart(name):
    fig = FIGURES[name]()
    renderer = drawn(fig)
    width, height = fig.canvas.get_width_height()
    assert fig.get_figwidth() * 25.4 == pytest.approx(180)
    # A superscript aside, none is used here, the size of a text is that of its letters.
    assert min(text.get_fontsize() for text in texts(fig)) >= 7
    boxes = []
    for text in shown(fig):
        box = text.get_window_extent(renderer)
        assert box.x0 >= -0.5 and box.y0 >= -0.5, text.get_text()
        assert box.x1 <= width + 0.5 and box.y1 <= height + 0.5, text.get_text()
        boxes.append((text, box))
    # Numbers of neighbouring centroids of Figure 4 may touch: the data put them there.
    apart = [(t, b) for t, b in boxes if name != "fig4" or t.get_fontsize() != 7]
    for (one, first), (other, second) in combinations(apart, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        overlap = wide > 1 and high > 0.25 * min(first.height, second.height)
        assert not overlap, (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_described_and_asks_nobody(files, name):
    text = files[name][0].read_text()
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "A title with a < and an &"
    assert root.find(f"{SVG}desc").text == ALT
    links = [
        value for one in root.iter() for key, value in one.attrib.items() if key.endswith("href")
    ]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not root.findall(f".//{SVG}metadata") and "DOCTYPE" not in text
    words = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http" not in words and str(ROOT) not in text and "tmp" not in words.split("<desc")[0]
    pictures = root.findall(f".//{SVG}image")
    assert bool(pictures) == (name == "fig3")
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(180 / 25.4 * 72, abs=0.01)


def pdf_streams(content: bytes) -> bytes:
    found = []
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S):
        try:
            found.append(zlib.decompress(match[1]))
        except zlib.error:
            continue
    return b"\n".join(found)


@pytest.mark.parametrize("name", FIGURES)
def test_pdf_embeds_fonts_and_holds_vectors(files, name):
    content = files[name][1].read_bytes()
    assert content.count(b"/FontFile2") >= 1 and b"/Type3" not in content
    assert b"/CIDFontType2" in content or b"/TrueType" in content
    assert (b"/Subtype /Image" in content) == (name == "fig3")
    assert b"CreationDate" not in content and b"Producer" not in content
    operators = pdf_streams(content)
    assert b" Tf" in operators and (b" l\n" in operators or b" re" in operators)
    for path in (str(ROOT), str(Path.home()), "/tmp"):
        assert path.encode() not in content


def test_same_figure_gives_same_bytes_in_another_process(files, tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; import matplotlib\n"
        "matplotlib.rcParams['font.size'] = 30; matplotlib.rcParams['svg.fonttype'] = 'none'\n"
        "import tests.instruments.paper.test_figures as t\n"
        "from oacore.instruments.paper.style import save_figure\n"
        "[save_figure(t.FIGURES[n](), sys.argv[1], n, t.ALT) for n in ('fig2', 'fig4')]\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "86400"}
    command = [sys.executable, "-c", code, str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, env=environment)
    for name in ("fig2", "fig4"):
        for path in files[name]:
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(tmp_path.glob("part-*"))


@pytest.mark.parametrize("name", ["fig2", "fig4", "fig5"])  # the others have a fixed layout
def test_a_figure_that_was_looked_at_is_saved_the_same(files, tmp_path, name):
    fig = FIGURES[name]()
    drawn(fig)
    for path, other in zip(files[name], save_figure(fig, tmp_path, name, ALT), strict=True):
        assert other.read_bytes() == path.read_bytes()


def test_nothing_is_left_behind(tmp_path):
    def settings() -> dict:  # to ask for the backend would choose one
        return {k: v for k, v in matplotlib.rcParams.copy().items() if k != "backend"}

    with matplotlib.rc_context({"font.size": 31}):
        before = settings()
        save_figure(paired_differences(differences()), tmp_path, "fig2", ALT)
        assert settings() == before


def test_figure_2_draws_the_numbers_given():
    table = differences()
    fig = paired_differences(table)
    for ax, task in zip(fig.axes, ("oa", "kl"), strict=True):
        bars = [one for one in ax.containers if isinstance(one, ErrorbarContainer)]
        assert [one.get_label() for one in bars] == ["ours", "theirs"]
        rows = {}
        for container in bars:
            part = table[(table["series"] == container.get_label())]
            part = part[part["metric"].str.startswith(task)]
            line, _, (spans,) = container.lines
            assert np.allclose(line.get_xdata(), part["value"])
            ends = np.array([span[:, 0] for span in spans.get_segments()])
            assert np.allclose(ends, part[["low", "high"]])
            rows[container.get_label()] = np.asarray(line.get_ydata())
        assert (rows["ours"] < rows["theirs"]).all()  # the axis points down: ours stands above
        # The word beside a row is that of its metric, below the heading of its backbone.
        words = dict(
            zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()], strict=True)
        )
        last = {"auc": "AUC", "acc": "accuracy", "f1": "F1"}
        part = table[(table["series"] == "ours") & table["metric"].str.startswith(task)]
        for y, metric, backbone in zip(rows["ours"], part["metric"], part["backbone"], strict=True):
            at = round(y + 0.22)
            assert words[at].endswith(last[metric.split("_")[1]])
            heading = [words[k] for k in sorted(words) if k <= at and words[k][0] in "RMn"]
            assert [h for h in heading if "acro" not in h][-1].lower() == backbone
    labels = [text.get_text() for text in texts(fig)]
    assert labels.count("<0.001") == 1
    assert all(f"{p:.3f}" in labels for p in table["p_value"] if p >= 0.001)
    zero = [line for line in fig.axes[0].lines if list(line.get_xdata()) == [0, 0]]
    assert len(zero) == 1


def test_figure_4_draws_each_knee_and_the_centroids():
    table = points()
    fig = feature_planes(table)
    panels = [(b, s, h) for b in BACKBONES for s, h in ANSWER_NAMES]
    for ax, (backbone, supervision, head) in zip(fig.axes, panels, strict=True):
        own = table[(table["backbone"] == backbone) & (table["supervision"] == supervision)]
        label = own["kl"] if head == "kl" else (own["kl"] > 1).astype(int)
        groups = list(own.groupby(label)[["pc1", "pc2"]])
        assert len(ax.collections) == len(groups) == (5 if head == "kl" else 2)
        for clouds, (_, group) in zip(ax.collections, groups, strict=True):
            assert np.allclose(clouds.get_offsets(), group)
        means = np.array([group.mean() for _, group in groups])
        assert np.allclose(ax.lines[0].get_xydata(), means)
        words = ["no", "OA"] if head == "oa" else list("01234")
        assert [one.get_text() for one in ax.texts] == words
        assert np.allclose([one.xy for one in ax.texts], means)
    assert [ax.get_title() for ax in fig.axes[:4]] == list(ANSWER_NAMES.values())
    shades = [c.get_facecolor()[0][:3] for c in fig.axes[1].collections]
    light = [np.dot(shade, (0.299, 0.587, 0.114)) for shade in shades]
    assert (np.diff(light) > 0.05).all()  # grades stay in order in a grey print


def test_figure_5_counts_as_scikit_learn_does():
    table = predictions()
    fig = confusion_grid(table)
    panels = [(b, s, h) for b in BACKBONES for s, h in ANSWER_NAMES]
    for ax, (backbone, supervision, head) in zip(fig.axes, panels, strict=False):
        own = table[(table["backbone"] == backbone) & (table["supervision"] == supervision)]
        counts = confusion_matrix(own[head], own[f"pred_{head}"].astype(int))
        bottom_up = ax.get_ylim()[0] > ax.get_ylim()[1]
        assert bottom_up  # row 0 is the uppermost
        cells = {}
        for text in ax.texts:
            x, y = text.get_position()
            cells.setdefault((int(y), int(x)), []).append(text.get_text())
        for at, count in np.ndenumerate(counts):
            percent = 100 * count / counts[at[0]].sum()
            said = [str(count)] + ([f"{percent:.0f}" + "%" * (head == "oa")] if count else [])
            assert cells[at] == said
        share = np.asarray(ax.collections[0].get_array()).reshape(counts.shape)
        assert np.allclose(share, 100 * counts / counts.sum(axis=1, keepdims=True))


def marked(place: tuple[int, int, int]):
    """Figure 3 of an image and a map that are bright at one place alone, and the slices there."""
    image, cartilage, _ = knee()
    spot = np.zeros(SHAPE)
    spot[place] = 1
    fig = saliency_over_slices(spot, cartilage, {"map": spot}, SPACING, at=place[:2])
    return {ax.get_label(): ax for ax in fig.axes}


def spot_of(ax, layer: int) -> tuple[float, float]:
    """Place of a panel's one bright pixel as it is seen: from left and from below, 0 to 1."""
    picture = ax.images[layer]
    values = np.ma.filled(np.ma.asarray(picture.get_array(), dtype=float), -99)
    row, column = np.unravel_index(values.argmax(), values.shape)
    left, right, low, high = picture.get_extent()
    assert picture.origin == "lower" and left < right and low < high
    x0, x1 = ax.get_xlim()
    y0, y1 = ax.get_ylim()
    x = left + (column + 0.5) / values.shape[1] * (right - left)
    y = low + (row + 0.5) / values.shape[0] * (high - low)
    return (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)


@pytest.mark.parametrize("layer", [0, 1])
def test_figure_3_shows_planes_the_radiologists_way(layer):
    x, y, z = SHAPE
    ax = marked((x // 2, y - 1, z - 1))["sagittal slice map"]
    assert spot_of(ax, layer) < (0.1, 1) and spot_of(ax, layer)[1] > 0.9  # anterior, superior
    ax = marked((x // 2, 0, 0))["sagittal slice map"]
    assert spot_of(ax, layer)[0] > 0.9 and spot_of(ax, layer)[1] < 0.1  # posterior, inferior
    ax = marked((x - 1, y // 2, z - 1))["coronal slice map"]
    assert spot_of(ax, layer)[0] < 0.1 and spot_of(ax, layer)[1] > 0.9  # right of the patient
    letters = {t.get_text(): t.get_position() for t in ax.texts}
    assert letters["R"][0] < 0.5 < letters["L"][0] and letters["I"][1] < 0.5 < letters["S"][1]


def test_figure_3_draws_the_stated_share_and_true_lengths():
    image, cartilage, _ = knee()
    order = np.random.default_rng(4).permutation(image.size).reshape(SHAPE)
    fig = saliency_over_slices(image, cartilage, {"map": order}, SPACING, percent=10)
    axes = {ax.get_label(): ax for ax in fig.axes}
    where = int(cartilage.sum((1, 2)).argmax())
    over = axes["sagittal slice map"].images[1].get_array()
    expected = (order >= 0.9 * order.size)[where]  # the uppermost tenth of the whole volume
    assert (~np.ma.getmaskarray(over)).sum() == expected.sum() > 0
    mm = {"sagittal": SHAPE[1] * SPACING[1], "coronal": SHAPE[0] * SPACING[0]}
    for plane, width in mm.items():
        ax = axes[f"{plane} slice map"]
        assert ax.get_xlim() == (0, width) and ax.get_ylim() == (0, SHAPE[2] * SPACING[2])
        box = ax.get_position()
        aspect = (box.height * fig.get_figheight()) / (box.width * fig.get_figwidth())
        assert aspect == pytest.approx(SHAPE[2] * SPACING[2] / width)
        for kind, length in (("slice", 20), ("inset", 10)):
            ax = axes[f"{plane} {kind} map"]
            bar = next(one for one in ax.lines if one.get_label() == f"scale {length} mm")
            assert np.ptp(bar.get_xdata()) == pytest.approx(length)
    inset = axes["sagittal inset map"]
    assert np.ptp(inset.get_xlim()) == pytest.approx(60)
    low, high = inset.get_ylim()
    assert high - low == pytest.approx(30)
    assert low < 14 * SPACING[2] and 17 * SPACING[2] < high  # the cartilage is inside
    outline = np.concatenate([p.vertices for c in inset.collections for p in c.get_paths()])
    assert outline[:, 1].min() == pytest.approx(14 * SPACING[2], abs=0.1)
    assert outline[:, 1].max() == pytest.approx(17 * SPACING[2], abs=0.1)


def test_coarse_maps_are_drawn_voxel_by_voxel():
    image, cartilage, _ = knee()
    coarse = np.zeros((10, 16, 15))
    coarse[5, 3, 4] = 1
    coarse[5, 3, 5] = 0.5
    fig = saliency_over_slices(image, cartilage, {"m": coarse}, SPACING, percent=0.05, at=(10, 0))
    over = fig.axes[0].images[1].get_array()
    rows, columns = np.nonzero(~np.ma.getmaskarray(over))
    assert sorted(set(rows)) == [8, 9] and sorted(set(columns)) == [24, 25]  # 31 - 7, 31 - 6


def test_page_shows_the_file_itself(files):
    shown_page = page_figure(files["fig2"][0], "../_static/24-tables-and-figures", ALT)
    assert 'href="../_static/24-tables-and-figures/fig2.pdf"' in shown_page.html
    assert "A title with a &lt; and an &amp;." in shown_page.html and "background:#fff" in (
        shown_page.html
    )
    assert not re.search(r"https?://", shown_page.html)


def test_what_is_published_lies_where_its_page_looks_for_it(tmp_path):
    figure = publish_figure(overview(), tmp_path, "15-tables/fig1", "Three arms.", "No clinic.")
    scores = pd.DataFrame(
        {"backbone": ["m3t"], "supervision": "dual", "metric": "oa_auc", "seeds": 1, "value": 0.5,
         "seed_low": 0.5, "seed_high": 0.5}
    )  # fmt: skip
    table = publish_table(beside_table1(scores), tmp_path, "15-tables/table1", "A caption.")
    found = re.findall(r'href="\.\./_static/15-tables/([^"]+)"', figure.html + table.html)
    assert found == ["fig1.svg", "fig1.pdf", "table1.csv", "table1.tex"]
    public = tmp_path / "results/15-tables/public"
    assert sorted(path.name for path in public.iterdir()) == sorted(found)
    assert "<desc>Three arms. No clinic.</desc>" in (public / "fig1.svg").read_text()
    assert figure.alt == "Three arms." and "A caption." in (public / "table1.tex").read_text()


def test_recipes_stand_side_by_side():
    profiles = {word: load_profile(name) for word, name in (("ours", "smoke"), ("paper", "paper"))}
    table = recipes(profiles)
    assert list(table.index) == ["ResNet3D", "M3T", "nnMamba"]
    for word, profile in profiles.items():
        recipe = profile.backbones["m3t"]
        expected = [" x ".join(map(str, recipe.grid)), str(recipe.epochs), str(len(recipe.seeds))]
        assert list(table.loc["M3T", word]) == expected


def test_tables_hold_ours_beside_the_printed(tmp_path):
    scores = pd.DataFrame(
        {
            "backbone": "m3t",
            "supervision": "dual",
            "metric": ["oa_auc", "kl_f1"],
            "seeds": 2,
            "value": [0.5, 0.25],
            "seed_low": [0.25, 0.25],
            "seed_high": [0.75, 0.25],
        }
    )
    tidy = beside_table1(scores)
    read = wide(tidy)
    assert read.loc[("M3T", "Dual", "this build"), "OA AUC"] == "0.50 (seeds 0.25 to 0.75)"
    assert read.loc[("M3T", "Dual", "this build"), "KL macro-F1"] == "0.25"
    # Read off the paper: Table 1, M3T Dual and nnMamba Single-KL.
    paper = ["0.9175", "0.7959", "0.8485", "0.7756", "0.4592", "0.4668"]
    assert list(read.loc[("M3T", "Dual", "paper")]) == paper
    assert read.loc[("nnMamba", "Single-KL", "paper"), "KL macro-F1"] == "0.2456"
    csv, tex = save_table(tidy, tmp_path, "table1", "An 80% share of a_b & c.")
    assert len(pd.read_csv(csv)) == len(tidy)
    text = tex.read_text()
    assert r"\caption{An 80\% share of a\_b \& c.}" in text
    assert text.count(r"\midrule") == 3 and r"\toprule" in text and r"\cline" not in text
    assert text.count("0.9175") == 1 and r"\label{tab:table1}" in text
    assert len(re.findall(r"(?<!\\)&", text.split(r"\midrule")[1].splitlines()[1])) == 8
    shown_page = page_table(tidy, "../_static/x", "table1")
    assert 'href="../_static/x/table1.tex"' in shown_page.html and "0.9175" in shown_page.html


def test_table_2_keeps_protocols_apart():
    rows = [
        ("resnet3d", "dual", seed, protocol, measure, value)
        for protocol, values in {"train-fit": (0.25, 0.75), "as printed": (0.0, 1.0)}.items()
        for seed, value in enumerate(values)
        for measure in ("rho_kl", "d_01")
    ]
    names = ["backbone", "supervision", "seed", "protocol", "measure", "value"]
    read = wide(beside_table2(pd.DataFrame(rows, columns=names)))["rho(PC1,KL)"]
    assert read["ResNet3D", "Dual", "this build, train-fit"] == "0.50 (seeds 0.25 to 0.75)"
    assert read["ResNet3D", "Dual", "this build, as printed"] == "0.50 (seeds 0.00 to 1.00)"
    assert read["ResNet3D", "Dual", "paper"] == "0.748"


def test_table_3_has_chance_and_ceiling():
    heads = [("single_oa", "oa"), ("dual", "oa"), ("dual", "kl")]
    rows = [
        {
            "backbone": "nnmamba", "supervision": supervision, "head": head, "method": "gradient",
            "region": "cartilage", "measure": "dice5", "value": 0.1 * k, "low": 0.0, "high": 0.5,
            "chance": 0.014, "ceiling": 0.3,
        }
        for k, (supervision, head) in enumerate(heads, start=1)
    ]  # fmt: skip
    overlap = pd.DataFrame(rows)
    read = wide(beside_table3(overlap, "gradient", "cartilage"), 3)["Dice@5"]
    assert read["nnMamba", "Dual-OA", "this build"] == "0.200 [0.000, 0.500]"
    assert read["nnMamba", "Dual-KL", "this build"] == "0.300 [0.000, 0.500]"
    assert read["nnMamba", "Dual-KL", "paper"] == "0.1195"
    assert read["nnMamba", "any map", "chance"] == "0.014"
    assert read["nnMamba", "any map", "ceiling"] == "0.300"
    with pytest.raises(InputError, match="no row of 'released'"):
        beside_table3(overlap, "released", "cartilage")


def test_missing_tables_are_named_in_one_message(tmp_path):
    keep(pd.DataFrame({"a": [1]}), tmp_path, "08-comparison/effects")
    (found,) = need_kept(tmp_path, "08-comparison/effects")
    assert found["a"].tolist() == [1]
    names = ("08-comparison/effects", "13-severity-axis/geometry", "14-saliency/table3")
    with pytest.raises(InputError, match=r"13-severity-axis/geometry, 14-saliency/table3") as said:
        need_kept(tmp_path, *names)
    assert "08-comparison" not in str(said.value)


def test_bad_input_is_named(tmp_path):
    image, cartilage, maps = knee()
    one = {"map": maps["Dual-OA"]}

    def slices(**changed):
        given = {"image": image, "cartilage": cartilage, "maps": one, "spacing": SPACING}
        saliency_over_slices(**{**given, **changed})

    table, guesses, knees = differences(), predictions(), points()
    holes = np.where(image > 0.5, np.nan, image)
    cases = [
        (lambda: slices(image=holes), "not one finite 3D volume"),
        (lambda: slices(cartilage=cartilage[1:]), "not on the grid"),
        (lambda: slices(cartilage=np.zeros(SHAPE, bool)), "is empty"),
        (lambda: slices(maps={}), "0 maps"),
        (lambda: slices(maps={"m": np.ones(SHAPE)}), "the same everywhere"),
        (lambda: slices(maps={"m": holes}), "map 'm'"),
        (lambda: slices(spacing=(1, 0, 1)), "three lengths"),
        (lambda: slices(percent=0), "percent is 0"),
        (lambda: slices(at=(99, 0)), "not in a volume"),
        (lambda: paired_differences(table.drop(columns="low")), "lacks the column 'low'"),
        (lambda: paired_differences(pd.concat([table, table])), "two rows for one"),
        (lambda: paired_differences(table.assign(series=range(len(table)))), "two can be told"),
        (lambda: confusion_grid(guesses.assign(seed=range(len(guesses)))), "more than one seed"),
        (lambda: confusion_grid(guesses.query("supervision != 'dual'")), "lacks dual of resnet3d"),
        (lambda: confusion_grid(guesses.assign(pred_kl=pd.NA)), "lacks kl or its prediction"),
        (lambda: feature_planes(knees.assign(kl=5)), "not 0 to 4"),
        (lambda: feature_planes(knees.assign(backbone="other")), "no known backbone"),
        (lambda: save_figure(overview(), tmp_path, "fig1", " "), "text alternative is empty"),
        (lambda: save_figure(overview(), tmp_path, "../fig1", ALT), "small letters"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    assert not list(tmp_path.iterdir())
