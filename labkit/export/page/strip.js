// The attention strip, for paper: the photograph, then the map of each word, as strips.attention_strip.
(() => {
  "use strict";
  const labkit = (window.labkit = window.labkit || {});
  const PANEL = 150, COLUMNS = 6, GAP = 8, LINE = 18; // pixels; pictures in a row

  // One still image of all captions. `picture` is the drawn photograph.
  const attentionStrip = (picture, captions) => {
    const { canvasOf, lightCanvas, thumbnail } = labkit.maps;
    const size = thumbnail(picture.width, picture.height, PANEL), [width, height] = size;
    const rowsOf = ({ words }) => Math.ceil((1 + words.length) / COLUMNS);
    const rows = captions.reduce((total, one) => total + rowsOf(one), 0);
    const step = height + LINE + GAP;
    const canvas = canvasOf(COLUMNS * (width + GAP), rows * step + captions.length * 2 * LINE);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "black";
    pen.textAlign = "center";
    let top = 0;
    for (const one of captions) {
      pen.font = "bold 15px sans-serif";
      pen.fillText(one.name, canvas.width / 2, top + LINE);
      pen.font = "13px sans-serif";
      top += 2 * LINE;
      ["", ...one.words].forEach((word, k) => {
        const x = (k % COLUMNS) * (width + GAP), y = top + Math.floor(k / COLUMNS) * step;
        pen.fillText(word, x + width / 2, y + LINE - 5, width);
        pen.drawImage(picture, x, y + LINE, width, height);
        if (!k) return;
        pen.globalAlpha = 0.75;
        pen.drawImage(lightCanvas(one.maps[k - 1], size, 0, 1), x, y + LINE, width, height);
        pen.globalAlpha = 1;
      });
      top += rowsOf(one) * step;
    }
    return canvas.toDataURL("image/jpeg", 0.8);
  };

  labkit.maps.attentionStrip = attentionStrip;
})();
