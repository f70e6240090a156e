// MathJax has 2 MB: it is loaded by the pages that have a formula, not by the front page.
(() => {
  const base = document.currentScript.src;
  if (!document.querySelector(".math")) return; // this script is deferred: the page is there
  const script = document.createElement("script");
  script.src = new URL("mathjax/tex-svg.js", base);
  document.head.append(script);
})();
