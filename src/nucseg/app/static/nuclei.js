// The nuclei of an image: their measurements, and which are kept.

export class Nuclei {
  constructor(reply) {
    this.found = reply.found;
    this.columns = reply.columns;
    this.channels = reply.image.channels;
    this.index();
    this.filter(null);
  }

  get size() {
    return this.columns.label.length;
  }

  index() {
    this.rows = new Map(this.columns.label.map((label, row) => [label, row]));
  }

  has(label) {
    return this.rows.has(label);
  }

  value(name, label) {
    return this.columns[name][this.rows.get(label)];
  }

  byHand(label) {
    return label > this.found;
  }

  box(label) {
    const row = this.rows.get(label);
    return ["bbox_row", "bbox_column", "bbox_height", "bbox_width"].map((name) => this.columns[name][row]);
  }

  // Classes and marks, as the server tells them; nuclei that came since have none.
  setClasses({ classes, image }) {
    const order = new Map(classes.map(({ id }, place) => [id, place]));
    this.classNames = classes.map(({ name }) => name);
    this.classes = new Map(image.labels.map((label, row) => [label, [image.numbers[row], image.probabilities[row]]]));
    this.marks = new Map(Object.entries(image.marked).map(([label, id]) => [Number(label), order.get(id)]));
  }

  // Number of the class of a nucleus, which is that of its mark where it has one.
  classOf(label) {
    return this.marks?.get(label) ?? this.classes?.get(label)?.[0];
  }

  // Decide which are kept, as the server does for results, and number these from 1 on.
  filter(filters) {
    const { label, area, score, touches_border: border } = this.columns;
    this.kept = [];
    this.numbers = new Map();
    // 0 is for labels that are gone, 1 for kept and 2 for dropped nuclei.
    this.shown = new Uint8Array((label.at(-1) ?? 0) + 1);
    for (let row = 0; row < label.length; row++) {
      const keep =
        !filters ||
        this.byHand(label[row]) ||
        (score[row] >= filters.min_score &&
          area[row] >= filters.min_area &&
          (filters.max_area === null || area[row] <= filters.max_area) &&
          !(filters.border_nuclei === "drop" && border[row]));
      this.shown[label[row]] = keep ? 1 : 2;
      if (keep) {
        this.kept.push(row);
        this.numbers.set(label[row], this.kept.length);
      }
    }
  }

  // Labels of the kept nuclei that were found, those with the lowest scores first.
  byScore() {
    const { label, score } = this.columns;
    const found = this.kept.filter((row) => !this.byHand(label[row]));
    return found.toSorted((a, b) => score[a] - score[b]).map((row) => label[row]);
  }

  // Take over a change by hand.
  apply(step) {
    const gone = new Set(step.removed);
    const stay = [];
    this.columns.label.forEach((label, row) => {
      if (!gone.has(label)) stay.push(row);
    });
    const joined = {};
    for (const [name, values] of Object.entries(this.columns)) {
      joined[name] = stay.map((row) => values[row]).concat(step.columns[name]);
    }
    const order = joined.label.map((_, row) => row).sort((a, b) => joined.label[a] - joined.label[b]);
    for (const name of Object.keys(joined)) this.columns[name] = order.map((row) => joined[name][row]);
    this.index();
  }

  // Names of the columns of mean intensity, one for each channel.
  get intensities() {
    return Object.keys(this.columns).filter((name) => name.startsWith("intensity_mean"));
  }

  intensityTitle(name) {
    if (this.intensities.length === 1) return "Mean intensity";
    const channel = Number(name.slice("intensity_mean_".length));
    return `Mean ${this.channels[channel] || `channel ${channel}`}`;
  }
}
