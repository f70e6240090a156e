// The captioner on a page: it fills each <div class="try-captioner">.
(() => {
  "use strict";
  const labkit = (window.labkit = window.labkit || {});
  const CANCELLED = new Error("another photograph came");
  const SHOWN_PIXELS = 640; // the longer side of the photograph on the page
  let widgets = 0;

  const add = (parent, tag, attributes = {}, text = "") => {
    const child = parent.appendChild(document.createElement(tag));
    Object.entries(attributes).forEach(([name, value]) => child.setAttribute(name, value));
    child.textContent = text;
    return child;
  };
  const button = (parent, name, text, attributes = {}) =>
    add(parent, "button", { type: "button", class: name, ...attributes }, text);
  const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} seconds`;

  // A data URL as a file. (A page opened from a file cannot fetch.)
  const blobOf = (url) => {
    const [head, body] = url.split(",");
    const bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
    return new Blob([bytes], { type: head.slice(5).split(";")[0] });
  };

  // The photograph as the page shows it: {url, canvas, width, height}.
  const shownPhoto = async (photo) => {
    const { canvasOf, thumbnail } = labkit.maps;
    const [width, height] = thumbnail(photo.width, photo.height, SHOWN_PIXELS);
    const size = { resizeWidth: width, resizeHeight: height, resizeQuality: "high" };
    const image = new ImageData(photo.data, photo.width, photo.height);
    const canvas = canvasOf(width, height);
    canvas.getContext("2d").drawImage(await createImageBitmap(image, size), 0, 0, width, height);
    return { url: canvas.toDataURL("image/jpeg", 0.85), canvas, width: photo.width, height: photo.height };
  };

  class TryCaptioner {
    constructor(host) {
      this.host = host;
      this.name = `captioner-${++widgets}`;
      this.turn = 0; // counts photographs and changes of the beam width: an old turn stops
      this.build();
      this.listen();
    }

    // ------------------------------------------------------------------ what is on the page

    build() {
      const { host } = this;
      host.textContent = "";
      host.setAttribute("data-ready", "");
      this.drop = add(host, "div", { class: "tell-drop" });
      const invite = add(this.drop, "p", { class: "tell-invite" });
      add(invite, "span", {}, "Drop a photograph here, paste one, or ");
      const choose = add(invite, "label", { class: "tell-choose" }, "choose a file");
      this.file = add(choose, "input", { type: "file", accept: "image/*", class: "tell-file" });
      add(this.drop, "p", { class: "tell-private" },
        "Nothing leaves this machine. The page has no server: it computes everything itself.");
      this.showExamples();
      this.showBeams();
      this.status = add(host, "p", { class: "tell-status", role: "status" });
      this.bar = add(host, "progress", { class: "tell-bar", max: 1, "aria-label": "Progress", hidden: "" });
      this.result = add(host, "div", { class: "tell-result" });
      this.second = labkit.secondLook(add(host, "div", { class: "tell-second" }), this);
      this.showLimits();
    }

    showExamples() {
      const examples = labkit.examples || [];
      if (!examples.length) return;
      add(this.drop, "p", { class: "tell-or" }, "Or take one of these:");
      const row = add(this.drop, "div", { class: "tell-examples", role: "group", "aria-label": "Examples" });
      for (const one of examples) {
        const take = button(row, "tell-example", "");
        add(take, "img", { src: one.src, alt: one.alt, class: "dark-light" });
        take.addEventListener("click", () => this.take(blobOf(one.src), one.alt, one.note));
      }
    }

    showBeams() {
      const set = add(this.host, "fieldset", { class: "tell-beams" });
      add(set, "legend", {}, "Beam width");
      for (const [width, text] of [[1, "1, the likeliest word each time"], [5, "5 captions side by side"]]) {
        const label = add(set, "label");
        const radio = add(label, "input", { type: "radio", name: `${this.name}-beams`, value: width });
        radio.checked = width === 5;
        label.append(` ${text}`);
        radio.addEventListener("change", () => this.vectors && this.captionAgain());
      }
      this.beams = set;
    }

    showLimits() {
      const limits = add(this.host, "details", { class: "tell-limits" });
      add(limits, "summary", {}, "What it cannot do");
      const list = add(limits, "ul");
      for (const text of labkit.limits || []) add(list, "li", {}, text);
      const credits = [...new Set((labkit.examples || []).map(({ credit }) => credit).filter(Boolean))];
      if (credits.length) add(limits, "p", { class: "tell-credits" }, `The examples: ${credits.join("; ")}.`);
    }

    // ------------------------------------------------------------------ how a photograph comes

    listen() {
      this.file.addEventListener("change", () => {
        const [file] = this.file.files;
        if (file) this.take(file);
        this.file.value = ""; // or the same file, chosen again, would be no change
      });
      const over = (event) => {
        event.preventDefault(); // or the browser would leave the page and show the file
        this.drop.classList.toggle("tell-over", event.type === "dragover");
      };
      document.addEventListener("dragover", over);
      document.addEventListener("dragleave", over);
      document.addEventListener("drop", (event) => {
        over(event);
        const [file] = event.dataTransfer.files;
        if (file) return this.take(file);
        this.say("That was not a file: save the photograph first, then drop the file here.", true);
      });
      document.addEventListener("paste", (event) => {
        const [file] = event.clipboardData.files;
        if (file) this.take(file);
      });
    }

    // ------------------------------------------------------------------ from photograph to captions

    say(text, trouble = false) {
      this.status.classList.toggle("tell-trouble", trouble);
      this.status.textContent = text;
    }

    progress(share) {
      this.bar.hidden = share === null;
      if (share !== null) this.bar.value = share;
    }

    // What long work awaits now and then: the page lives on, and an old turn ends.
    pause(turn) {
      const pause = labkit.pauses();
      return async () => {
        await pause();
        if (turn !== this.turn) throw CANCELLED;
      };
    }

    // Run one turn of work; whatever goes wrong becomes one sentence.
    async run(work) {
      const turn = ++this.turn, pause = this.pause(turn);
      this.host.setAttribute("aria-busy", "true");
      try {
        await work(async (value) => { // each wait within a turn ends here
          const done = await value;
          if (turn !== this.turn) throw CANCELLED;
          return done;
        }, pause);
      } catch (error) {
        if (turn !== this.turn) return;
        this.say(error.message, true);
      }
      this.rest();
    }

    rest() {
      this.progress(null);
      this.host.removeAttribute("aria-busy");
    }

    cancel() {
      this.turn++;
      this.rest();
    }

    take(file, alt = "Your photograph.", note = "") {
      return this.run(async (step, pause) => {
        this.vectors = null;
        this.clear();
        this.say("Reading the photograph.");
        this.status.scrollIntoView({ block: "nearest" });
        await step(labkit.checkWhole(file));
        const photo = await step(labkit.readPhoto(file));
        this.photo = await step(shownPhoto(photo));
        Object.assign(this, { alt, note });
        add(this.result, "img", { src: this.photo.url, alt, class: "tell-waiting dark-light" });
        await this.load(step);
        this.say("Looking at the photograph.");
        this.progress(null);
        await step(labkit.breath());
        this.started = performance.now();
        const input = labkit.toInput(photo, this.encoder.size);
        this.vectors = await step(labkit.encode(this.encoder, input, pause));
        await this.caption(step, pause);
      });
    }

    captionAgain() {
      return this.run(async (step, pause) => {
        this.second.clear();
        this.started = performance.now();
        await this.caption(step, pause);
      });
    }

    // The weights, when they are needed for the first time.
    async load(step) {
      const parts = [(tell) => labkit.loadEncoder(tell), ...labkit.models.map(({ name }) => (tell) => labkit.loadModel(name, tell))];
      const loaded = [];
      this.say("Loading the models.");
      for (const part of parts) {
        const tell = (share) => this.progress((loaded.length + share) / parts.length);
        loaded.push(await step(part(tell)));
      }
      [this.encoder, ...this.models] = loaded;
    }

    numBeams() {
      return Number(this.beams.querySelector("input:checked").value);
    }

    async caption(step, pause) {
      const numBeams = this.numBeams(), found = [];
      for (const model of this.models) {
        const name = this.nameOf(found.length);
        this.say(`${name} is finding words.`);
        await step(labkit.breath());
        found.push({ name, ...this.mapped(await step(labkit.generate(model, this.vectors.a, { numBeams, pause }))) });
      }
      this.captions = found;
      const said = found.map(({ name, words }) => `${name}: ${words.join(" ")}.`).join(" ");
      this.say(`${said} (${seconds(this.started)})`);
      this.show();
    }

    // "soft" or "hard", as long as this names one model alone.
    nameOf(number) {
      const kinds = labkit.models.map(({ attention }) => (attention === "soft" ? "soft" : "hard"));
      const alone = kinds.filter((kind) => kind === kinds[number]).length === 1;
      return alone ? kinds[number] : labkit.models[number].name;
    }

    // A caption whose weights are maps, with rows and columns.
    mapped(caption) {
      const { rows, columns } = this.vectors;
      return { ...caption, maps: caption.alpha.map((alpha) => ({ alpha, rows, columns })) };
    }

    clear() {
      this.result.textContent = "";
      this.second.clear();
    }

    show() {
      this.clear();
      if (this.note) add(this.result, "p", { class: "tell-note" }, this.note);
      this.viewer(this.result, this.captions);
      this.second.open();
    }

    // The viewer of some captions. On paper a strip takes its place.
    viewer(parent, captions) {
      const id = `${this.name}-viewer-${parent.className}`;
      const shown = add(parent, "div", { class: "attention-viewer", id });
      const { attentionStrip, inWords, viewerData } = labkit.maps;
      const src = attentionStrip(this.photo.canvas, captions);
      add(shown, "img", { class: "dark-light", alt: inWords(captions, this.alt), src });
      labkit.viewer(id, viewerData(this.photo, captions, this.alt));
      return shown;
    }
  }

  labkit.dom = { add, button };
  const start = () => document.querySelectorAll(".try-captioner:not([data-ready])")
    .forEach((host) => new TryCaptioner(host));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else setTimeout(start); // the scripts of the page that follow this one come first
})();
