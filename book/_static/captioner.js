// A page with <div class="try-captioner"> gets the captioner of _static/tell. Its weights come later,
// with the first photograph.
(() => {
  const base = new URL("tell/", document.currentScript.src);
  const STYLES = ["viewer.css", "page.css"];
  const SCRIPTS = [
    "models.js", "examples.js", "weights.js", "products.js", "whole.js", "photo.js", "encoder.js",
    "decoder.js", "mixture.js", "model.js", "captions.js", "maps.js", "strip.js", "viewer.js",
    "second-look.js", "page.js",
  ]; // as in index.html of the same folder

  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector(".try-captioner")) return;
    STYLES.forEach((file) => {
      const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: base + file });
      document.head.append(link);
    });
    SCRIPTS.forEach((file) => {
      const script = Object.assign(document.createElement("script"), { async: false, src: base + file });
      document.head.append(script);
    });
  });
})();
