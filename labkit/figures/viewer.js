(id, data) => {
  const add = (parent, tag, attributes, text = "") => {
    const child = parent.appendChild(document.createElement(tag));
    Object.entries(attributes).forEach(([name, value]) => child.setAttribute(name, value));
    child.textContent = text;
    return child;
  };

  const start = (viewer) => {
    viewer.setAttribute("data-ready", "");
    const stage = add(viewer, "div", { class: "av-stage", role: "group", "aria-label": data.label });
    let kept = null; // [caption, word] that was clicked or has the keyboard focus

    // The words: one row per caption, one tab stop per row. JupyterLab ignores keys pressed there.
    const rows = data.captions.map(({ who, words }) => {
      const quiet = { class: "av-row", "data-lm-suppress-shortcuts": "true" };
      const row = add(stage, "div", { role: "radiogroup", "aria-label": `Caption by ${who}`, ...quiet });
      add(row, "span", { class: "av-who", "aria-hidden": "true" }, who + ":");
      return words.map((word, k) => {
        const state = { role: "radio", "aria-checked": "false", tabindex: k ? -1 : 0 };
        return add(row, "button", { type: "button", ...state }, word);
      });
    });

    // The panels: the photograph, the map of a word over it, perhaps with numbers, and a sentence.
    const sides = add(stage, "div", { class: "av-panels" });
    const panels = data.panels.map((panel) => {
      const side = add(sides, "div", { class: "av-panel" });
      const picture = add(side, "div", { class: "av-picture" });
      add(picture, "img", { src: data.photo, alt: data.alt, class: "dark-light" });
      const light = add(picture, "div", { class: "av-light" });
      const digits = add(picture, "div", { "aria-hidden": "true" }); // the sentence has them, too
      picture.addEventListener("click", () => show((kept = null)));
      return { ...panel, light, digits, line: add(side, "p", { class: "av-says", role: "status" }) };
    });
    add(stage, "p", { class: "av-hint" }, data.hint);

    const show = (chosen) => {
      const places = chosen ? data.captions[chosen[0]].aligned[chosen[1]] : [];
      rows.forEach((row, r) => row.forEach((button, k) => {
        button.setAttribute("aria-checked", k === places[r]);
      }));
      panels.forEach(({ name, caption, maps, says, numbers, light, digits, line }) => {
        const k = places[caption] ?? null;
        light.style.backgroundImage = k === null ? "" : `url(${maps[k]})`;
        digits.textContent = line.textContent = "";
        numbers?.[k]?.forEach(([x, y, text]) => {
          const place = { left: `${100 * x}%`, top: `${100 * y}%` };
          Object.assign(add(digits, "span", { class: "av-number" }, text).style, place);
        });
        add(line, "strong", {}, name);
        const nothing = chosen ? `no word here corresponds to this one` : `the picture alone`;
        line.append(" ", k === null ? nothing : says[k]);
      });
    };
    const keep = (r, k) => {
      rows[r].forEach((button, i) => button.setAttribute("tabindex", i === k ? 0 : -1));
      show((kept = [r, k]));
    };

    rows.forEach((row, r) => row.forEach((button, k) => {
      const last = row.length - 1;
      const next = k < last ? k + 1 : 0, before = k ? k - 1 : last;
      const goes = {
        ArrowRight: next, ArrowDown: next, ArrowLeft: before, ArrowUp: before, Home: 0, End: last,
      };
      button.addEventListener("mouseenter", () => show([r, k]));
      button.addEventListener("mouseleave", () => show(kept));
      button.addEventListener("click", () => keep(r, k));
      button.addEventListener("focus", () => button.matches(":focus-visible") && keep(r, k));
      button.addEventListener("keydown", (event) => {
        const handled = event.key in goes || event.key === "Escape";
        if (!handled || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        event.stopPropagation();
        if (event.key === "Escape") return show((kept = null));
        row[goes[event.key]].focus();
        keep(r, goes[event.key]);
      });
    }));
    show(null);
  };
  document.querySelectorAll(`[id="${id}"]:not([data-ready])`).forEach(start);
}
