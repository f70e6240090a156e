// The viewer of the front page shows its words one after the other, until someone touches it.
document.addEventListener("DOMContentLoaded", () => {
  const EVERY = 1600; // ms a word
  document.querySelectorAll(".moving-viewer").forEach((around) => {
    const words = [...around.querySelectorAll("[role=radio]")];
    if (!words.length) return;
    const lines = around.querySelectorAll("[role=status]");
    const button = around.appendChild(document.createElement("button"));
    button.type = "button";
    button.className = "moving-pause";
    let at = words.length - 1, timer = null;

    const point = (kind) => words[at].dispatchEvent(new MouseEvent(kind));
    const next = () => {
      point("mouseleave");
      at = (at + 1) % words.length;
      point("mouseenter");
    };
    const say = (live) => lines.forEach((line) => line.setAttribute("aria-live", live));
    const stop = () => {
      clearInterval(timer);
      timer = null;
      say("polite");
      button.textContent = "Play the words";
    };
    const play = () => {
      say("off"); // or a screen reader would speak without end
      next();
      timer = setInterval(next, EVERY);
      button.textContent = "Pause";
    };
    const touched = ({ target }) => {
      if (timer === null || target === button) return;
      stop();
      point("mouseleave");
    };
    button.addEventListener("click", () => (timer === null ? play() : stop()));
    around.querySelector(".av-stage").addEventListener("pointerover", touched);
    around.querySelector(".av-stage").addEventListener("focusin", touched);
    stop();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
  });
});
