"""Seconds from dropping an image on the page of `nucseg app` to its outlines.

    python benchmarks/app.py --data DIR [--chromium PATH] [--images 5] [--picture FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. The app runs as its user would start it; a real
Chromium, without a window, drops PNG files of 1024 by 1024 pixels with about 450 nuclei (those of
benchmarks/speed.py) on its page, one after the other, and the page's own clock runs until their
outlines are painted. The first waits for the network to be loaded, if it is not yet. Goal: under 2
seconds. FILE gets a screenshot of the last. Needs the extra `app`, Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import cv2
from playwright.sync_api import sync_playwright
from speed import mosaics

# Drops a file, waits for the message that comes with the outlines, and then for two frames.
DROP = """
async ([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const started = performance.now();
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", options));
  const status = document.getElementById("status");
  while (!status.textContent.startsWith(`${name}: `))
    await new Promise((done) => requestAnimationFrame(done));
  for (let frame = 0; frame < 2; frame++) await new Promise((done) => requestAnimationFrame(done));
  return [(performance.now() - started) / 1000, status.textContent];
}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    images, _ = mosaics(options.data / "dsb2018", options.images)
    command = [sys.executable, "-u", "-m", "nucseg", "app", "--port", "0", "--no-browser"]
    seconds = []
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app,
        sync_playwright() as started,
        ExitStack() as stack,
    ):
        stack.callback(app.terminate)
        address = re.search(r"http://\S+", app.stdout.readline()).group()
        browser = started.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.get_by_text("nuclei", exact=True).first.wait_for(state="attached")
        print("| image | seconds | what the page says |\n|---|---|---|")
        for number, image in enumerate(images, start=1):
            data = base64.b64encode(cv2.imencode(".png", image)[1]).decode()
            taken, said = page.evaluate(DROP, [f"image{number}.png", data])
            seconds.append(taken)
            print(f"| {number} | {taken:.2f} | {said} |")
        if options.picture:
            page.screenshot(path=options.picture)
        browser.close()
    print(f"\nMedian {median(seconds):.2f} s, most {max(seconds):.2f} s.")


if __name__ == "__main__":
    main()
