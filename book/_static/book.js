// The bibliography is a list, and its entries are items of it: screen readers count them.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".citation-list > .citation").forEach((entry) => {
    entry.setAttribute("role", "listitem");
  });
});
