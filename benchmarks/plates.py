"""How often the analysis of a plate is correct: known effects, no effect, half-maximal dose.

    python benchmarks/plates.py --data DIR [--plates 100] [--json FILE] [--images OUT]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. Each plate
has 96 wells at random places, two fields each: three treatments in four doses and six wells, and 24
wells of the control. One treatment takes nuclei away, one makes them larger, one brighter. Wells
differ in seeding, size and staining, wells at the edge hold fewer nuclei, and one well is dead.
Nuclei are real: those of fluorescence images, measured by their true outlines. Plates without an
effect differ in nothing else.

`held` is how often a 95 % interval holds the truth, `found` how often p after Holm's correction is
below .05, for the effect that a treatment has, at its two upper doses. In plates without an effect
nothing is to be found, in any condition and measurement; that is told for the analysis as it is,
with Welch's p values alone, and with each nucleus counted as a replicate.
With --images one plate is drawn as images too, segmented and analyzed.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import tifffile
from accuracy import print_table
from scipy import stats
from scipy.ndimage import find_objects

from nucseg.analysis.compare import Comparing, compare
from nucseg.analysis.conditions import Results
from nucseg.analysis.effects import holm
from nucseg.analysis.plate_maps import PlateMap
from nucseg.analysis.summaries import dose_responses
from nucseg.datasets.reading import open_dataset
from nucseg.measure import measure
from nucseg.training.augment.crowds import without_nuclei

ROWS, COLUMNS, FIELDS, REPLICATES = "ABCDEFGH", 12, 2, 6
DOSES, HALF, SLOPE = (0.1, 0.5, 2.5, 12.5), 1.0, 1.2
# What a treatment does at most, as a share of the control: number, size, brightness.
TREATMENTS = {
    "toxin": ("nuclei", -0.8),
    "sweller": ("area", 0.6),
    "dye": ("intensity_mean", 1.0),
}
PER_FIELD = 40
# Standard deviations between wells, as shares; and what the edge takes away.
BETWEEN = {"nuclei": 0.1, "area": 0.03, "intensity_mean": 0.08}
EDGE = -0.15
# Images of one size, with such a median area and contrast of nuclei: of one kind of assay. Nuclei
# far from these are clumps and debris.
SIZE, MEDIANS, AREAS, CONTRASTS = (256, 256), (100, 220), (60, 500), (15, 120)


@dataclass(frozen=True)
class Well:
    """A well of a plate: its place, and what is in it."""

    name: str
    treatment: str
    dose: float
    dead: bool

    @property
    def at_edge(self):
        """Whether it lies in an outer row or column."""
        return self.name[0] in "AH" or self.name[1:] in ("01", "12")


def fluorescence_images(data):
    """Images of one size, with nuclei of one size, and their true outlines."""
    folder = data / "dsb2018"
    with (folder / "split.csv").open(newline="") as file:
        chosen = [
            row["image_id"]
            for row in csv.DictReader(file)
            if row["modality"] == "fluorescence"
            and (int(row["height"]), int(row["width"])) == SIZE
            and int(row["nuclei"]) >= 10
        ]
    dataset = open_dataset(folder / "stage1_train.zip")
    for image_id in chosen:
        sample = dataset.read(image_id)
        areas = np.bincount(sample.labels[sample.labels > 0])[1:]
        if MEDIANS[0] <= np.median(areas[areas > 0]) <= MEDIANS[1]:
            yield sample.pixels.max(axis=2), sample.labels


def real_nuclei(data):
    """Measurements of real nuclei, whole and of usual size."""
    tables = []
    for grey, labels in fluorescence_images(data):
        ground = np.median(grey[labels == 0])
        table = pd.DataFrame(measure(labels, grey))
        table["intensity_mean"] -= ground
        tables.append(table[~table["touches_border"]])
    table = pd.concat(tables, ignore_index=True)[["area", "solidity", "intensity_mean"]]
    usual = table["area"].between(*AREAS) & table["intensity_mean"].between(*CONTRASTS)
    return table[usual].reset_index(drop=True)


def layout(rng):
    """Wells of a plate, at random places."""
    names = [f"{row}{column:02}" for row in ROWS for column in range(1, COLUMNS + 1)]
    given = [(name, dose) for name in TREATMENTS for dose in DOSES for _ in range(REPLICATES)]
    given += [("DMSO", 0.0)] * (len(names) - len(given))
    dead = rng.integers(len(names))
    places = rng.permutation(len(names))
    return [
        Well(names[place], *given[number], dead=number == dead)
        for number, place in enumerate(places)
    ]


def plate_map(wells):
    return PlateMap(
        tuple(
            {
                "well": well.name,
                "treatment": well.treatment,
                "dose": well.dose,
                "unit": "uM",
                "control": "negative" if well.treatment == "DMSO" else "",
            }
            for well in wells
        )
    )


def share(dose):
    """How much of its largest effect a dose has."""
    return dose**SLOPE / (dose**SLOPE + HALF**SLOPE)


def changes(well, rng, *, effects):
    """Draw what a well's nuclei are multiplied by: treatment, place and chance."""
    factors = {name: float(rng.normal(1, spread)) for name, spread in BETWEEN.items()}
    if effects and well.treatment in TREATMENTS:
        what, most = TREATMENTS[well.treatment]
        factors[what] *= 1 + most * share(well.dose)
    if well.at_edge:
        factors["nuclei"] *= 1 + EDGE
    if well.dead:
        factors["nuclei"] *= 0.03
        factors["area"] *= 0.5
    return factors


def simulated(nuclei, rng, *, effects):
    """Tables of a plate as nucseg segment writes them, and its plate map."""
    wells = layout(rng)
    values = nuclei.to_numpy()
    images, names, labels, drawn = [], [], [], []
    for well in wells:
        factors = changes(well, rng, effects=effects)
        scale = [factors.get(name, 1.0) for name in nuclei]
        for field in range(1, FIELDS + 1):
            image = f"img_{well.name}_s{field}.tif"
            count = int(rng.poisson(PER_FIELD * factors["nuclei"]))
            images.append((image, "ok" if count else "empty", count))
            drawn.append(values[rng.integers(len(values), size=count)] * scale)
            names += [image] * count
            labels += range(1, count + 1)
    told = pd.DataFrame(images, columns=["image", "status", "nuclei"])
    table = pd.DataFrame(np.concatenate(drawn), columns=nuclei.columns)
    return Results(told, table.assign(image=names, label=labels)), plate_map(wells)


def truths(nuclei):
    """Difference to the control of each treatment in its own measurement, at a full effect."""
    edge = np.mean([name[0] in "AH" or name[1:] in ("01", "12") for name in _names()])
    control = {
        "nuclei": PER_FIELD * (1 + EDGE * edge),
        "area": nuclei["area"].mean(),
        "intensity_mean": nuclei["intensity_mean"].mean(),
    }
    return {name: most * control[what] for name, (what, most) in TREATMENTS.items()}


def _names():
    return [f"{row}{column:02}" for row in ROWS for column in range(1, COLUMNS + 1)]


def nuclei_as_n(found):
    """P values after Holm's correction where each nucleus counts as a replicate."""
    joined = found.nuclei.merge(found.assigned.images[["image", "condition"]], on="image")
    control = joined[joined["condition"].isin(found.controls)]
    p_values = [
        stats.ttest_ind(group[name], control[name], equal_var=False).pvalue
        for condition, group in joined.groupby("condition")
        if condition not in found.controls
        for name in found.measures
        if name != "nuclei"
    ]
    return holm(p_values)


def welch_alone(found):
    """P values of wells after Holm's correction, by Welch's test alone."""
    wells = found.replicates
    control = wells[wells["condition"].isin(found.controls)]
    return holm([
        stats.ttest_ind(group[name], control[name], equal_var=False).pvalue
        for condition, group in wells.groupby("condition")
        if condition not in found.controls
        for name in found.measures
    ])  # fmt: skip


def without_curves(tables, where, seed):
    """Compare without dose-response curves, which take most of the time; few are looked at."""
    with mock.patch("nucseg.analysis.summaries.dose_responses", return_value=pd.DataFrame()):
        return compare(tables, where, Comparing(seed=seed))


def run(nuclei, plates):
    """Rows of how often each effect and each half dose was held and found; and false alarms."""
    true = truths(nuclei)
    doses = DOSES[-2:]
    held = {(name, dose): [] for name in TREATMENTS for dose in doses}
    found = {key: [] for key in held}
    halves = {name: [] for name in TREATMENTS}
    none: dict[str, list[bool]] = {"as analyzed": [], "Welch alone": [], "nuclei as n": []}
    for seed in range(plates):
        tables, where = simulated(nuclei, np.random.default_rng(seed), effects=True)
        compared = without_curves(tables, where, seed)
        table = compared.effects.set_index(["condition", "measure"])
        for name, (what, _) in TREATMENTS.items():
            for dose in doses:
                row = table.loc[(f"{name} {dose:g} uM", what)]
                truth = true[name] * share(dose)
                held[name, dose].append(row["low"] <= truth <= row["high"])
                found[name, dose].append(row["p_holm"] < 0.05)
            own = compared.replicates["treatment"].isin([name, "DMSO"])
            curves = dose_responses(compared.replicates[own], [what], compared.controls)
            curve = curves.iloc[0]
            halves[name].append((curve["low"] <= HALF <= curve["high"], curve["reached"]))
        tables, where = simulated(nuclei, np.random.default_rng([seed, 1]), effects=False)
        compared = without_curves(tables, where, seed)
        for name, p_values in (
            ("as analyzed", compared.effects["p_holm"].to_numpy()),
            ("Welch alone", welch_alone(compared)),
            ("nuclei as n", nuclei_as_n(compared)),
        ):
            none[name].append(not (p_values < 0.05).any())
        if (seed + 1) % 10 == 0:
            so_far = {name: sum(each) for name, each in none.items()}
            least = min(map(sum, held.values()))
            print(f"{seed + 1} plates: held {least} or more; {so_far}", file=sys.stderr)
    return held, found, halves, none


def cut_outs(data):
    """Real nuclei with a rim: what they add to the background, and their masks."""
    found = []
    for grey, labels in fluorescence_images(data):
        pixels = grey.astype(np.float32)
        added = pixels - without_nuclei(pixels[..., None], labels > 0)[..., 0]
        for number, box in enumerate(find_objects(labels), start=1):
            if box is None:
                continue
            rows, columns = box
            if not (rows.start > 3 and columns.start > 3):
                continue
            rim = np.s_[rows.start - 4 : rows.stop + 4, columns.start - 4 : columns.stop + 4]
            here = labels[rim]
            mask = here == number
            touches = rows.stop + 4 > SIZE[0] or columns.stop + 4 > SIZE[1]
            usual = AREAS[0] < mask.sum() < AREAS[1]
            if touches or not usual or not CONTRASTS[0] < added[rim][mask].mean() < CONTRASTS[1]:
                continue
            wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
            wide[(here > 0) & ~mask] = 0
            soft = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), 1)
            found.append((added[rim] * soft, mask.astype(np.float32)))
    return found


def field(nuclei, count, factors, rng):
    """Draw nuclei at random places where none lies; 16 bits, with the noise of a camera."""
    canvas = np.full(SIZE, 10, np.float32)
    taken = np.zeros(SIZE, bool)
    for _ in range(count):
        added, mask = nuclei[rng.integers(len(nuclei))]
        side = float(np.sqrt(factors["area"]))
        size = tuple(max(round(length * side), 3) for length in added.shape[::-1])
        added, mask = (cv2.resize(each, size) for each in (added, mask))
        turns = int(rng.integers(4))
        added, mask = np.rot90(added, turns), np.rot90(mask, turns) > 0.5
        for _ in range(50):
            top, left = (int(rng.integers(SIZE[k] - mask.shape[k])) for k in (0, 1))
            place = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
            if not (taken[place] & mask).any():
                taken[place] |= mask
                canvas[place] += added * factors["intensity_mean"]
                break
    noisy = 64 * canvas + rng.normal(0, 1, SIZE) * np.sqrt(np.maximum(canvas, 1)) * 20
    return np.clip(noisy, 0, 65535).astype(np.uint16)


def draw_plate(data, folder, *, seed=0):
    """Write a plate as images, one TIFF a field, and its plate map as CSV beside them."""
    rng = np.random.default_rng(seed)
    nuclei, wells = cut_outs(data), layout(rng)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for well in wells:
        factors = changes(well, rng, effects=True)
        for number in range(1, FIELDS + 1):
            count = int(rng.poisson(PER_FIELD * factors["nuclei"]))
            path = folder / "images" / f"img_{well.name}_s{number}.tif"
            tifffile.imwrite(path, field(nuclei, count, factors, rng), compression="zlib")
    rows = pd.DataFrame(plate_map(wells).rows).sort_values("well")
    rows.to_csv(folder / "plate.csv", index=False)
    return next(well.name for well in wells if well.dead)


def image_plate(data, folder):
    """Draw a plate, segment and analyze it; rows of effects beside what was put in."""
    from nucseg import load_model
    from nucseg.analysis.analyze import analyze
    from nucseg.batch.run import segment_files

    dead = draw_plate(data, folder)
    segment_files([folder / "images"], folder / "results", load_model("nuclei"))
    analyze(folder / "results", plate_map=folder / "plate.csv")
    table = pd.read_csv(folder / "results" / "analysis" / "effects.csv")
    table = table.set_index(["condition", "measure"])
    record = json.loads((folder / "results" / "analysis" / "analysis.json").read_text())
    rows = []
    for name, (what, most) in TREATMENTS.items():
        for dose in DOSES:
            row = table.loc[(f"{name} {dose:g} uM", what)]
            ends = [f"{100 * row[end] / row['control_mean']:.0f}" for end in ("low", "high")]
            put_in = f"{100 * most * share(dose):.0f}"
            measured = f"{row['percent']:.0f} ({ends[0]} to {ends[1]})"
            rows.append((name, what, dose, put_in, measured, f"{row['p_holm']:.2g}"))
    print_table(("treatment", "measurement", "dose", "put in %", "measured %", "p (Holm)"), rows)
    told = [note for note in record["notes"] if dead in note]
    print(f"\nDead well {dead}: {told[0] if told else 'not found'}\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--plates", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--images", type=Path, help="folder for one plate as images")
    options = parser.parse_args()
    if options.images:
        image_plate(options.data, options.images)
        if not options.plates:
            return
    nuclei = real_nuclei(options.data)
    print(f"{len(nuclei):,} real nuclei; {options.plates} plates with effects, as many without.\n")
    held, found, halves, none = run(nuclei, options.plates)
    rows = [
        (name, TREATMENTS[name][0], dose, sum(held[name, dose]), sum(found[name, dose]))
        for name, dose in held
    ]
    print_table(("treatment", "measurement", "dose", "held", "found"), rows)
    print()
    reached = {name: [one for one, whether in pairs if whether] for name, pairs in halves.items()}
    curves = [
        (name, sum(one for one, _ in pairs), len(reached[name]), sum(reached[name]))
        for name, pairs in halves.items()
    ]
    print_table(("treatment", "half held", "reached", "held where reached"), curves)
    print()
    nothing = [(name, sum(each)) for name, each in none.items()]
    print_table(("plates without an effect", "nothing found"), nothing)
    if options.json:
        figures = {
            "effects": [
                dict(zip(("treatment", "measurement", "dose", "held", "found"), row, strict=True))
                for row in rows
            ],
            "halves": [
                dict(zip(("treatment", "held", "reached", "held_reached"), row, strict=True))
                for row in curves
            ],
            "none": dict(nothing),
            "plates": options.plates,
        }
        options.json.write_text(json.dumps(figures, indent=2, default=int) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
