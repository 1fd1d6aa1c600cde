// Colours: of classes (Okabe and Ito 2008, told apart by the colour-blind), of the theme, of grids.

const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const CLASS_COLOURS = 8;

/** The CSS class that gives an element the colour of class number `index`; the first is normal. */
export const classOf = (index) => `class-${index < 0 ? "other" : index === 0 ? 0 : 1 + ((index - 1) % (CLASS_COLOURS - 1))}`;

/** The theme as canvases need it; read again when it changes. */
export function theme() {
  const classes = Array.from({ length: CLASS_COLOURS }, (_, i) => read(`--class-${i}`));
  const names = ["surface", "sunken", "line", "ink", "muted", "accent", "wave"];
  return { ...Object.fromEntries(names.map((name) => [name, read(`--${name}`)])), classes, other: read("--class-other") };
}

export function classColour(colours, index) {
  if (index < 0) return colours.other;
  return colours.classes[index === 0 ? 0 : 1 + ((index - 1) % (CLASS_COLOURS - 1))];
}

/** Black or white, whichever reads better on a colour #rrggbb (relative luminance of WCAG 2). */
export function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000000" : "#ffffff";
}

// Dark to light with an even step in lightness; the eye sees no edge that the sound does not have.
const STOPS = [[8, 8, 24], [46, 20, 90], [112, 31, 118], [178, 50, 105], [232, 92, 82], [250, 160, 105], [253, 240, 200]];

function ramp() {
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) {
    const place = (value / 255) * (STOPS.length - 1);
    const low = Math.min(Math.floor(place), STOPS.length - 2);
    for (let k = 0; k < 3; k++) {
      table[value * 4 + k] = STOPS[low][k] + (place - low) * (STOPS[low + 1][k] - STOPS[low][k]);
    }
    table[value * 4 + 3] = 255;
  }
  return table;
}

/** Saliency lies over the sound, in a colour the sound does not have. A root: a gradient is small but for few points. */
function veil() {
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) table.set([70, 255, 225, 225 * Math.sqrt(value / 255)], value * 4);
  return table;
}

const TABLES = { sound: ramp(), saliency: veil() };

/** A canvas that holds a grid of bytes. @param {"sound"|"saliency"} kind */
export function picture(grid, kind) {
  const canvas = document.createElement("canvas");
  canvas.width = grid.width;
  canvas.height = grid.height;
  const table = TABLES[kind];
  const image = new ImageData(grid.width, grid.height);
  grid.bytes.forEach((value, i) => image.data.set(table.subarray(value * 4, value * 4 + 4), i * 4));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
