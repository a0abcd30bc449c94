// Pictures of an image, each half as large as the one before it, and whether it is bright.
export async function makePyramid(blob) {
  const pyramid = [await createImageBitmap(blob)];
  while (Math.max(pyramid.at(-1).width, pyramid.at(-1).height) > 512) {
    const last = pyramid.at(-1);
    const size = { resizeWidth: Math.ceil(last.width / 2), resizeHeight: Math.ceil(last.height / 2), resizeQuality: "medium" };
    pyramid.push(await createImageBitmap(last, size));
  }
  return { pyramid, bright: isBright(pyramid.at(-1)) };
}

function isBright(picture) {
  const side = 64;
  const context = new OffscreenCanvas(side, side).getContext("2d");
  context.drawImage(picture, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  const light = [];
  for (let i = 0; i < data.length; i += 4) light.push(data[i] + data[i + 1] + data[i + 2]);
  light.sort((a, b) => a - b);
  return light[light.length / 2] >= 384;
}
