"""Whether ImageJ, the core of Fiji, opens the output of nucseg and reads the same content.

    python benchmarks/imagej.py --jar ij.jar [--images 5]

Made-up images of a known pixel size are segmented, and labels, overlays and probabilities of the
first opened in ImageJ. Then the two macros of docs/guides/fiji-qupath.md run, their questions for
folders answered: measurements of all outlines are compared with measurements.csv, label images that
ImageJ draws from the outlines with nucseg's, pixel by pixel. Of a label image with more nuclei than
16 bits can tell apart, the largest number and the outlines are counted. Of stacks, the plane that
ImageJ shows for an outline is read. Exits with 1 where anything
differs. Needs Java, ImageJ 1.53 or later and, on Linux, a display (xvfb-run).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from nucseg.datasets.synthetic import synthetic_image

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "fiji-qupath.md"
PIXEL_SIZE = 0.325
# More than 16 bits can tell apart.
MANY = 66_000
NUCSEG = (sys.executable, "-m", "nucseg")
LOOK = """
setBatchMode(true);
open("{path}");
getPixelSize(unit, width, height);
getStatistics(area, mean, min, max);
line = "" + getWidth() + "," + getHeight() + "," + bitDepth() + "," + nSlices;
File.saveString(line + "," + width + "," + unit + "," + max, "{out}");
"""
COUNT = """
setBatchMode(true);
roiManager("open", "{path}");
n = roiManager("count");
File.saveString("" + n + "," + call("ij.plugin.frame.RoiManager.getName", n - 1), "{out}");
"""

# Which plane ImageJ shows once a selection is chosen.
POSITION = """
open("{path}");
roiManager("open", "{rois}");
roiManager("select", 0);
Stack.getPosition(channel, slice, frame);
File.saveString("" + channel + "," + slice + "," + frame, "{out}");
"""


def macros():
    """Give the macros of the guide: the first measures outlines, the second draws labels."""
    return re.findall(r"```java\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def answered(macro, folders):
    """Put folders in place of questions for them, in their order."""
    answers = iter(folders)
    return re.sub(r'getDirectory\("[^"]*"\)', lambda _: f'"{next(answers)}/"', macro)


class ImageJ:
    """Runs macros, each in an ImageJ of its own."""

    def __init__(self, jar, folder):
        self._jar, self._folder = jar, folder

    def run(self, macro):
        """Run a macro and give the text that it wrote to `{out}`."""
        path, out = self._folder / "macro.ijm", self._folder / "out.txt"
        out.write_text("")
        path.write_text(macro.replace("{out}", str(out)) + 'run("Quit");\n')
        # Not -batch, in which the ROI Manager keeps no more than its last measurement.
        command = ["java", "-Xmx2g", "-jar", self._jar, "-macro", path]
        subprocess.run(command, check=True, timeout=600, capture_output=True)
        return out.read_text().strip()

    def look(self, path):
        """Open an image: width, height, bits, slices, pixel size, unit and largest value."""
        *sizes, pixel_size, unit, largest = self.run(LOOK.replace("{path}", str(path))).split(",")
        return [int(each) for each in sizes], float(pixel_size), unit, float(largest)


def check_images(imagej, results, name, labels):
    """Open an image of each format; yields what is not as expected."""
    height, width = labels.shape
    expected = {
        "labels": (16, labels.max(), (PIXEL_SIZE, "micron")),
        "probability": (32, None, (PIXEL_SIZE, "micron")),
        "overlays": (24, None, None),
    }
    for folder, (bits, largest, size) in expected.items():
        (path,) = (results / folder).glob(f"{name}.*")
        sizes, pixel_size, unit, most = imagej.look(path)
        print(f"{path.name} of {folder}: {sizes}, pixel size {pixel_size} {unit}, to {most:g}")
        if sizes != [width, height, bits, 1]:
            yield f"{path}: {sizes}"
        if size and (not np.isclose(pixel_size, size[0]) or unit not in (size[1], "um", "µm")):
            yield f"{path}: pixel size {pixel_size} {unit}"
        if largest is not None and most != largest:
            yield f"{path}: largest {most}"


def check_measurements(imagej, images, results):
    """Run the guide's first macro; yields where its areas and intensities differ from the table."""
    imagej.run(answered(macros()[0], (images, results)))
    theirs = pd.read_csv(results / "fiji.csv")
    ours = pd.read_csv(results / "measurements.csv")
    ours["image"] = ours["image"].map(lambda path: Path(path).name)
    # ImageJ calls a row by image and outline: image.tif:number-position.
    keys = theirs["Label"].str.extract(r"^(?P<image>.*):(?P<label>\d+)")
    theirs = theirs.assign(image=keys["image"], label=keys["label"].astype(int))
    both = ours.merge(theirs, on=["image", "label"], validate="1:1")
    print(f"{len(ours)} nuclei measured by nucseg, {len(theirs)} by ImageJ, {len(both)} in both")
    if not len(both) == len(ours) == len(theirs):
        yield "not the same nuclei"
    for name, column in (("Area", "area_um2"), ("Mean", "intensity_mean")):
        worst = np.abs(both[name] / both[column] - 1).max()
        print(f"{name}: at most {worst:.1e} apart")
        if not worst < 1e-3:  # three decimals are written
            yield f"{name} differs by {worst:.1e}"


def check_drawn(imagej, images, results, name, folder):
    """Run the guide's second macro; yields where labels drawn by ImageJ are others."""
    opened = f'open("{images / name}.tif");\nroiManager("open", "{results}/rois/{name}.zip");\n'
    imagej.run("setBatchMode(true);\n" + opened + answered(macros()[1], (folder,)))
    drawn = tifffile.imread(folder / f"{name}.tif")
    labels = tifffile.imread(results / "labels" / f"{name}.tif")
    differing = np.count_nonzero(drawn != labels)
    print(f"{name}: {labels.max()} nuclei drawn by ImageJ, {differing} pixels differ")
    if differing:
        yield f"{name}: {differing} pixels differ"


def check_many(imagej, folder):
    """Label image of more nuclei than 16 bits tell apart; yields what ImageJ sees otherwise."""
    labels = np.zeros((3 * 256, 3 * 260), np.uint32)
    labels[::3, ::3] = np.arange(1, 256 * 260 + 1).reshape(256, 260)
    labels[labels > MANY] = 0
    path = folder / "many.tif"
    tifffile.imwrite(path, labels)
    subprocess.run([*NUCSEG, "convert", path, "--to", "labels,rois", "-o", folder], check=True)
    (sizes, _, _, largest) = imagej.look(folder / "labels" / "many.tif")
    found = imagej.run(COUNT.replace("{path}", str(folder / "rois" / "many.zip")))
    print(f"many.tif: {sizes}, to {largest:g}; outlines, name of the last: {found}")
    if largest != MANY or found != f"{MANY},{MANY}":
        yield f"many: {largest}, {found}"


def check_positions(imagej, folder):
    """Outlines of planes of stacks; yields where ImageJ shows another plane for them."""
    image, _ = synthetic_image(np.random.default_rng(0), nuclei=20)
    pixels = image[..., 0]
    stacks = {
        "TZYX": (np.stack([[pixels] * 3] * 2), {"s_t001_z002": "1,3,2", "s_t000_z001": "1,2,1"}),
        "ZCYX": (np.stack([[pixels, pixels]] * 3), {"s_z001": "2,2,1"}),
        "ZYX": (np.stack([pixels] * 4), {"s_z003": "1,4,1"}),
    }
    for axes, (stack, expected) in stacks.items():
        place = folder / axes
        place.mkdir()
        path = place / "s.tif"
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes})
        options = ("--channel", "1") if "C" in axes else ()
        command = (*NUCSEG, "segment", path, "-o", place / "out", "--save", "rois", *options)
        subprocess.run(command, check=True)
        for name, position in expected.items():
            rois = place / "out" / "rois" / f"{name}.zip"
            macro = POSITION.replace("{path}", str(path)).replace("{rois}", str(rois))
            shown = imagej.run(macro)
            print(f"{axes} {name}: ImageJ shows channel, slice, frame {shown}")
            if shown != position:
                yield f"{axes} {name}: {shown}, expected {position}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jar", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5)
    arguments = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        images, results, drawn = (root / name for name in ("images", "out", "drawn"))
        images.mkdir()
        drawn.mkdir()
        for number in range(arguments.images):
            image, _ = synthetic_image(np.random.default_rng(number), nuclei=40)
            options = {"resolution": (1e4 / PIXEL_SIZE,) * 2, "resolutionunit": "CENTIMETER"}
            tifffile.imwrite(images / f"image{number}.tif", image[..., 0], **options)
        save = ("--save", "labels,overlays,rois,probability")
        subprocess.run([*NUCSEG, "segment", images, "-o", results, *save], check=True)
        imagej = ImageJ(arguments.jar, root)
        labels = tifffile.imread(results / "labels" / "image0.tif")
        wrong += check_images(imagej, results, "image0", labels)
        wrong += check_measurements(imagej, images, results)
        for number in range(arguments.images):
            wrong += check_drawn(imagej, images, results, f"image{number}", drawn)
        wrong += check_many(imagej, root)
        wrong += check_positions(imagej, root)
    print("\n".join(["", *wrong]) if wrong else "\nAll the same in ImageJ.")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
