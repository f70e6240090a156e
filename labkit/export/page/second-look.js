// A second look at one word: what else the model could have said, and attention moved by hand.
(() => {
  "use strict";
  const labkit = (window.labkit = window.labkit || {});
  const END = "<eos>";
  const HINT = "Choose a word of a caption above. You will see what else the model could have said " +
    "there, and you can move its attention by hand.";
  // The place of a thing in a list. Firefox 140 computes slowly after an indexOf, see products.js.
  const placeOf = (list, thing) => Array.from(list).findIndex((other) => other === thing);

  // How likely the model's word is at step t of `said`, whose words before it are the same.
  const likelyAt = (word) => ({ candidates }, t) => {
    const found = candidates[t].find((one) => one.word === word);
    return found ? `${Math.round(100 * found.p)}%` : "not among the five likeliest";
  };

  class SecondLook {
    // `captioner` is the TryCaptioner whose captions are looked at.
    constructor(host, captioner) {
      Object.assign(this, { host, captioner });
      this.clear();
    }

    clear() {
      this.host.textContent = "";
      this.host.hidden = true;
      this.at = null; // {model, word}: their numbers
    }

    open() {
      const { add } = labkit.dom;
      this.host.hidden = false;
      add(this.host, "h3", {}, "A second look");
      this.hint = add(this.host, "p", { class: "tell-hint" }, HINT);
      this.body = add(this.host, "div", { class: "tell-look" });
      const viewer = this.captioner.result.querySelector(".attention-viewer");
      const chosen = ({ target, type }) => {
        if (type === "focusin" && !target.matches(":focus-visible")) return;
        const row = target.closest("[role=radiogroup]");
        if (!row || !target.matches("[role=radio]")) return;
        const number = placeOf(viewer.querySelectorAll("[role=radiogroup]"), row);
        this.choose(number, placeOf(row.querySelectorAll("[role=radio]"), target));
      };
      viewer.addEventListener("click", chosen);
      viewer.addEventListener("focusin", chosen);
    }

    // A word of the viewer's caption, by their numbers: the first model that said it.
    choose(row, word) {
      if (this.host.hidden) return; // other captions are on their way
      const { captions } = this.captioner, texts = captions.map(({ words }) => words.join(" "));
      this.lookAt(placeOf(texts, [...new Set(texts)][row]), word);
    }

    lookAt(model, word) {
      const here = this.at;
      if (here && here.model === model && here.word === word) return;
      this.captioner.cancel(); // what follows an earlier choice is no longer waited for
      this.at = { model, word };
      this.draw();
    }

    get caption() {
      return this.captioner.captions[this.at.model];
    }

    draw() {
      const { add } = labkit.dom, { body } = this;
      this.hint.hidden = true;
      body.textContent = "";
      this.drawModels();
      const line = add(body, "p", { class: "tell-step" });
      this.caption.words.forEach((word, k) => {
        line.append(k ? " " : "");
        if (k === this.at.word) add(line, "mark", {}, word);
        else line.append(word);
      });
      const columns = add(body, "div", { class: "tell-columns" });
      this.drawGrid(add(columns, "div", { class: "tell-where" }));
      this.drawCandidates(add(columns, "div", { class: "tell-what" }));
      this.fromThere = add(body, "div", { class: "tell-from-there" });
    }

    // The models that have a word at this place or one that corresponds to it.
    drawModels() {
      const { add, button } = labkit.dom, { captions } = this.captioner;
      const { model, word } = this.at;
      const row = add(this.body, "div", { class: "tell-models", role: "group", "aria-label": "Model" });
      captions.forEach(({ name, words }, k) => {
        const place = labkit.maps.align(this.caption.words, words)[word];
        const switched = button(row, "tell-model", name, { "aria-pressed": k === model });
        switched.disabled = place === null;
        switched.addEventListener("click", () => {
          this.lookAt(k, place);
          this.body.querySelector("[aria-pressed=true]").focus();
        });
      });
    }

    drawCandidates(parent) {
      const { add, button } = labkit.dom, { at, caption } = this;
      const title = `${this.captioner.name}-candidates`;
      add(parent, "h4", { id: title }, "What it could have said");
      const list = add(parent, "ol", { class: "tell-candidates", "aria-labelledby": title });
      const most = Math.max(...caption.candidates[at.word].map(({ p }) => p));
      for (const { word, p } of caption.candidates[at.word]) {
        const one = button(add(list, "li"), "tell-candidate", "");
        const bar = add(one, "span", { class: "tell-share", "aria-hidden": "true" });
        bar.style.width = `${100 * p / most}%`;
        add(one, "span", { class: "tell-word" }, word === END ? "(the end)" : word);
        add(one, "span", { class: "tell-p" }, p < 0.005 ? "< 1%" : labkit.maps.percent(p));
        one.setAttribute("aria-pressed", word === caption.words[at.word]);
        one.disabled = word === END;
        one.addEventListener("click", () => this.say(word, one));
      }
      add(parent, "p", { class: "tell-small" }, this.aboutCandidates());
    }

    aboutCandidates() {
      const word = this.caption.words[this.at.word];
      const known = this.caption.candidates[this.at.word].some((one) => one.word === word);
      const which = known ? "The likeliest words at this place."
        : `The likeliest words at this place. Beam search took “${word}” for what it allows later.`;
      return `${which} Choose one to hear what would follow.`;
    }

    // ------------------------------------------------------------------ the grid

    drawGrid(parent) {
      const { add } = labkit.dom, { at, caption, captioner } = this;
      const map = caption.maps[at.word], title = `${captioner.name}-grid`;
      add(parent, "h4", { id: title }, "Where it looked");
      const frame = add(parent, "div", { class: "tell-frame" });
      add(frame, "img", { src: captioner.photo.url, alt: captioner.alt, class: "dark-light" });
      const light = add(frame, "div", { class: "tell-light" });
      light.style.backgroundImage = `url(${labkit.maps.lightCanvas(map, this.size()).toDataURL()})`;
      const grid = add(frame, "div", { class: "tell-grid", role: "grid", "aria-labelledby": title });
      grid.style.gridTemplateColumns = `repeat(${map.columns}, 1fr)`;
      const most = placeOf(map.alpha, Math.max(...map.alpha));
      this.cells = [];
      for (let row = 0; row < map.rows; row++) {
        const line = add(grid, "div", { class: "tell-row", role: "row" });
        for (let column = 0; column < map.columns; column++) {
          this.cells.push(this.drawCell(line, map, row, column, most));
        }
      }
      grid.addEventListener("keydown", (event) => this.key(event, map));
      add(parent, "p", { class: "tell-small" },
        "Choose another cell, by mouse or with the arrow keys and Enter. The model then sees this cell " +
        "alone before it says the word.");
    }

    size() {
      const { width, height } = this.captioner.photo;
      return labkit.maps.thumbnail(width, height);
    }

    drawCell(line, { alpha, columns }, row, column, most) {
      const place = row * columns + column;
      const label = `row ${row + 1}, column ${column + 1}: ${labkit.maps.percent(alpha[place])} of the weight`;
      const state = { role: "gridcell", "aria-label": label, "aria-selected": "false" };
      const cell = labkit.dom.add(line, "div", { class: "tell-cell", ...state });
      cell.tabIndex = place === most ? 0 : -1;
      if (place === most) cell.classList.add("tell-most");
      cell.addEventListener("click", () => this.move(place));
      return cell;
    }

    key(event, { rows, columns }) {
      const place = placeOf(this.cells, event.target);
      const row = Math.floor(place / columns), column = place % columns;
      const steps = {
        ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
        Home: [0, -column], End: [0, columns - 1 - column],
      };
      const picks = event.key === "Enter" || event.key === " ";
      if (!picks && !(event.key in steps)) return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (picks) return this.move(place);
      const down = row + steps[event.key][0], right = column + steps[event.key][1];
      const inside = down >= 0 && down < rows && right >= 0 && right < columns;
      if (inside) this.focus(down * columns + right);
    }

    focus(place) {
      this.cells.forEach((cell, k) => { cell.tabIndex = k === place ? 0 : -1; });
      this.cells[place].focus();
    }

    // ------------------------------------------------------------------ what is said from there on

    // Another word is given: (y_1 ... y_{t-1}, word).
    say(word, chosen) {
      const before = this.caption.words.slice(0, this.at.word);
      this.body.querySelectorAll(".tell-candidate").forEach((one) => one.setAttribute("aria-pressed", one === chosen));
      this.select(null);
      return this.follow({ prefix: [...before, word] }, `with “${word}” as word ${this.at.word + 1}`, "given");
    }

    // At this step alpha is one-hot: the model sees the region of one cell.
    move(place) {
      const { columns } = this.captioner.vectors, { word } = this.at;
      this.select(place);
      const where = `row ${Math.floor(place / columns) + 1}, column ${place % columns + 1}`;
      const options = { prefix: this.caption.words.slice(0, word), force: { step: word, place } };
      return this.follow(options, `looking at ${where} for word ${word + 1}`, "moved");
    }

    select(place) {
      this.cells.forEach((cell, k) => cell.setAttribute("aria-selected", k === place));
      if (place !== null) this.cells.forEach((cell, k) => { cell.tabIndex = k === place ? 0 : -1; });
    }

    follow(options, how, what) {
      const { captioner, caption, at } = this;
      return captioner.run(async (step, pause) => {
        const numBeams = captioner.numBeams();
        const said = await step(labkit.generate(captioner.models[at.model], captioner.vectors.a, { numBeams, pause, ...options }));
        const one = { ...captioner.mapped(said), name: `${caption.name}, ${what}` };
        const same = one.words.join(" ") === caption.words.join(" ");
        captioner.say(`${caption.name}, ${how}: ${one.words.join(" ")}.${same ? " The caption stays the same." : ""}`);
        this.fromThere.textContent = "";
        labkit.dom.add(this.fromThere, "h4", {}, `${caption.name}, ${how}`);
        if (options.force) {
          const stays = same ? "The caption stays the same. " : "";
          const likely = likelyAt(caption.words[at.word]);
          const change = `${likely(caption, at.word)} before, ${likely(said, at.word)} now`;
          labkit.dom.add(this.fromThere, "p", {}, `${stays}How likely is this word here? ${change}.`);
        }
        const viewer = captioner.viewer(this.fromThere, [caption, one]);
        const row = [...viewer.querySelectorAll("[role=radiogroup]")].pop();
        row.querySelectorAll("[role=radio]")[at.word].click(); // it shows the map of this word
      });
    }
  }

  labkit.secondLook = (host, captioner) => new SecondLook(host, captioner);
})();
