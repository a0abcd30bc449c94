"""Calibration of the score of a nucleus, and the benefit of checking low scores first.

    python benchmarks/calibration.py --data DIR [--model NAME|PATH] [--fold 0] [--plot FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. The score of
each nucleus found on the images of one fold is held against its greatest IoU with a true nucleus.
Nuclei that the model drops for a low score are not among them; missed ones have no score.

The bins are ten of equally many nuclei: most scores are high, so that of ten bins of equal width
the low ones would hold next to nothing. The expected calibration error is the mean over nuclei of
the difference between mean score and mean IoU in their bin. A nucleus is false where its IoU is
0.5 or less.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import fold_images, print_table, short
from scipy.stats import spearmanr

from nucseg import load_model
from nucseg.evaluation.metrics import overlap
from nucseg.figures.pictures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

BINS = 10
FALSE = 0.5
CHECKED = (0.05, 0.1, 0.2)
# As matplotlib takes them; the first is for all nuclei.
COLOURS = [np.divide(each, 255) for each in (BLACK, BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)]


def scored_nuclei(model, dataset, image_ids, groups):
    """Scores and greatest IoU of all nuclei found, shape (N,), for all images and each group."""
    found = {"all": []}
    for image_id in image_ids:
        sample = dataset.read(image_id)
        segmentation = model.segment(sample.pixels)
        table = overlap(sample.labels, segmentation.labels)
        best = np.zeros(segmentation.count)
        np.maximum.at(best, table.columns, table.iou)
        pairs = np.stack([segmentation.scores.astype(float), best])
        for name in ("all", groups[image_id]):
            found.setdefault(name, []).append(pairs)
    joined = {name: np.concatenate(pairs, axis=1) for name, pairs in sorted(found.items())}
    return {name: tuple(pairs) for name, pairs in joined.items() if pairs.size}


def reliability(scores, ious):
    """Bins of equally many nuclei, from the lowest scores to the highest."""
    order = np.argsort(scores, kind="stable")
    return [
        {
            "nuclei": len(chosen),
            "lowest_score": float(scores[chosen[0]]),
            "highest_score": float(scores[chosen[-1]]),
            "mean_score": float(scores[chosen].mean()),
            "mean_iou": float(ious[chosen].mean()),
            "iou_quartiles": np.quantile(ious[chosen], (0.25, 0.75)).tolist(),
            "false": int(np.count_nonzero(ious[chosen] <= FALSE)),
        }
        for chosen in np.array_split(order, BINS)
        if len(chosen)
    ]


def checked_first(scores, ious):
    """Count false nuclei among those of the lowest scores, and how many there could be."""
    false = ious[np.argsort(scores, kind="stable")] <= FALSE
    total = int(false.sum())
    rows = []
    for share in CHECKED:
        number = round(share * len(false))
        rows.append(
            {
                "share_of_nuclei": share,
                "nuclei": number,
                "false": int(false[:number].sum()),
                "share_of_all_false": float(false[:number].sum() / total) if total else None,
                "at_most": min(1.0, number / total) if total else None,
            }
        )
    return rows


def summary(scores, ious):
    bins = reliability(scores, ious)
    gaps = [each["nuclei"] * abs(each["mean_score"] - each["mean_iou"]) for each in bins]
    varied = len(set(scores)) > 1 and len(set(ious)) > 1  # else there is no correlation
    return {
        "nuclei": len(scores),
        "mean_score": float(scores.mean()),
        "mean_iou": float(ious.mean()),
        "false": int(np.count_nonzero(ious <= FALSE)),
        "expected_calibration_error": sum(gaps) / len(scores),
        "spearman": float(spearmanr(scores, ious).statistic) if varied else None,
        "checked_first": checked_first(scores, ious),
        "bins": bins,
    }


def print_figures(figures):
    print("\n### Reliability, all images\n")
    columns = ("scores", "nuclei", "mean score", "mean IoU", "IoU, middle half", "false")
    rows = [
        (
            f"{each['lowest_score']:.3f} to {each['highest_score']:.3f}",
            each["nuclei"],
            short(each["mean_score"]),
            short(each["mean_iou"]),
            " to ".join(map(short, each["iou_quartiles"])),
            f"{each['false']} ({each['false'] / each['nuclei']:.0%})",
        )
        for each in figures["all"]["bins"]
    ]
    print_table(columns, rows)
    print("\n### By modality\n")
    columns = ("images", "nuclei", "mean score", "mean IoU", "calibration error", "Spearman")
    rows = [
        (
            name,
            held["nuclei"],
            short(held["mean_score"]),
            short(held["mean_iou"]),
            short(held["expected_calibration_error"]),
            "" if held["spearman"] is None else f"{held['spearman']:.2f}",
        )
        for name, held in figures.items()
    ]
    print_table(columns, rows)
    print("\n### Share of all false nuclei among those of the lowest scores")
    print("\nIn brackets what it would be if all false ones had the lowest scores.\n")
    rows = [
        (
            name,
            held["false"],
            *(
                ""
                if each["at_most"] is None
                else f"{each['share_of_all_false']:.0%} ({each['at_most']:.0%})"
                for each in held["checked_first"]
            ),
        )
        for name, held in figures.items()
    ]
    print_table(("images", "false", *(f"checking {share:.0%}" for share in CHECKED)), rows)


def draw(figures, path, title):
    """Draw mean IoU against mean score in each bin; perfect scores lie on the dotted line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    for index, (name, held) in enumerate(figures.items()):
        score, iou = ([each[key] for each in held["bins"]] for key in ("mean_score", "mean_iou"))
        strong = name == "all"
        axes.plot(
            score,
            iou,
            color=COLOURS[index % len(COLOURS)],
            label=f"{name} ({held['nuclei']})",
            lw=2.5 if strong else 1.3,
            ls="-" if strong else "--",
            marker="o" if strong else ".",
        )
        if strong:
            low, high = np.transpose([each["iou_quartiles"] for each in held["bins"]])
            axes.fill_between(score, low, high, color="0.88", label="middle half of all")
    axes.set(xlabel="score", ylabel="IoU with the true nucleus", xlim=(0, 1), ylim=(0, 1))
    axes.set(title=title, aspect="equal")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many images of each modality, for a try")
    parser.add_argument("--plot", type=Path, help="reliability plot to write, such as a PNG file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset, groups, chosen = fold_images(options.data / "dsb2018", options.fold, options.limit)
    model = load_model(options.model)
    nuclei = scored_nuclei(model, dataset, chosen, groups)
    if not nuclei:
        raise SystemExit(f"{model.card.name} finds no nuclei in {len(chosen)} images.")
    figures = {name: summary(*pairs) for name, pairs in nuclei.items()}
    title = f"{model.card.name} on fold {options.fold}"
    print(f"{title}: {figures['all']['nuclei']} nuclei in {len(chosen)} images")
    print_figures(figures)
    if options.plot:
        draw(figures, options.plot, title)
    if options.json:
        written = {"model": model.card.name, "fold": options.fold, **figures}
        options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
