// A label image in the browser: which nucleus is where, and the outlines.

const FROM_WHITE = [[0, 158, 115], [240, 228, 66], [213, 94, 0]];
const FROM_BLACK = [[240, 228, 66], [86, 180, 233], [230, 159, 0], [204, 121, 167]];
const DROPPED = [150, 150, 150];

export class LabelMap {
  constructor(height, width, buffer) {
    this.height = height;
    this.width = width;
    this.pixels = new Int32Array(height * width);
    fill(this.pixels, new Uint32Array(buffer));
    this.edges = new Map();
    this.areas = new Map();
  }

  at(x, y) {
    const inside = x >= 0 && y >= 0 && x < this.width && y < this.height;
    return inside ? this.pixels[Math.floor(y) * this.width + Math.floor(x)] : 0;
  }

  // Put other labels into a window.
  patch([top, left, height, width], runs) {
    const part = new Int32Array(height * width);
    fill(part, runs);
    for (let row = 0; row < height; row++) {
      this.pixels.set(part.subarray(row * width, (row + 1) * width), (top + row) * this.width + left);
    }
    this.edges.clear();
    this.areas.clear();
  }

  // Outline of a nucleus, along the edges of its pixels.
  outline(label, box) {
    let path = this.edges.get(label);
    if (!path) {
      path = this.trace(label, box);
      this.edges.set(label, path);
    }
    return path;
  }

  trace(label, [top, left, height, width]) {
    const path = new Path2D();
    const is = (row, column) =>
      row >= 0 && column >= 0 && row < this.height && column < this.width && this.pixels[row * this.width + column] === label;
    for (let row = top; row <= top + height; row++) {
      for (let column = left; column < left + width; column++) {
        if (is(row - 1, column) === is(row, column)) continue;
        const start = column;
        while (column < left + width && is(row - 1, column) !== is(row, column)) column++;
        path.moveTo(start, row);
        path.lineTo(column, row);
      }
    }
    for (let column = left; column <= left + width; column++) {
      for (let row = top; row < top + height; row++) {
        if (is(row, column - 1) === is(row, column)) continue;
        const start = row;
        while (row < top + height && is(row, column - 1) !== is(row, column)) row++;
        path.moveTo(column, start);
        path.lineTo(column, row);
      }
    }
    return path;
  }

  // Area of a nucleus, to be filled.
  area(label, [top, left, height, width]) {
    let path = this.areas.get(label);
    if (path) return path;
    path = new Path2D();
    for (let row = top; row < top + height; row++) {
      const line = row * this.width;
      for (let column = left; column < left + width; column++) {
        if (this.pixels[line + column] !== label) continue;
        const start = column;
        while (column < left + width && this.pixels[line + column] === label) column++;
        path.rect(start, row, column - start, 1);
      }
    }
    this.areas.set(label, path);
    return path;
  }

  // Picture of all outlines on every so many rows and columns: what is seen from afar.
  // `shown[label]` is 0 for hidden, 1 for kept, 2 for dropped nuclei.
  overview(step, shown, colour) {
    const width = Math.ceil(this.width / step);
    const height = Math.ceil(this.height / step);
    const picture = new ImageData(width, height);
    const out = new Uint32Array(picture.data.buffer);
    const colours = new Uint32Array(shown.length);
    for (let label = 1; label < shown.length; label++) {
      if (shown[label]) colours[label] = packed(shown[label] === 2 ? DROPPED : colour(label));
    }
    let above = new Int32Array(width);
    let line = this.sampled(0, step, width);
    for (let row = 0; row < height; row++) {
      const below = row + 1 < height ? this.sampled((row + 1) * step, step, width) : new Int32Array(width);
      const start = row * width;
      for (let column = 0; column < width; column++) {
        const label = line[column];
        if (label === 0 || colours[label] === 0) continue;
        const before = column > 0 ? line[column - 1] : 0;
        const after = column + 1 < width ? line[column + 1] : 0;
        if (above[column] !== label || below[column] !== label || before !== label || after !== label) {
          out[start + column] = colours[label];
        }
      }
      above = line;
      line = below;
    }
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  }

  sampled(row, step, width) {
    const line = new Int32Array(width);
    let place = row * this.width;
    for (let column = 0; column < width; column++, place += step) line[column] = this.pixels[place];
    return line;
  }
}

function fill(pixels, runs) {
  let place = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const end = place + runs[i + 1];
    if (runs[i]) pixels.fill(runs[i], place, end);
    place = end;
  }
}

const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

const fromHex = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
export const DROPPED_CSS = css(DROPPED);

// Colours of outlines: one that was chosen, or several that stand out, neighbours apart.
export function colouring(choice, bright) {
  if (choice !== "auto") {
    const one = fromHex(choice);
    return () => one;
  }
  const several = bright ? FROM_WHITE : FROM_BLACK;
  return (label) => several[label % several.length];
}
