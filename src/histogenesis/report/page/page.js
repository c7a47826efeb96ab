// A click on a picture shows it large; a click on a number shows the patches behind it. Without this script the page is whole:
// pictures stand where they are, and a number is a link to its patches.
(() => {
  const dialog = document.getElementById("large");
  const [stage, words] = [dialog.querySelector(".stage"), dialog.querySelector("p")];
  const figures = [...document.querySelectorAll("figure")];
  let at = 0;

  const show = (figure) => {
    at = figures.indexOf(figure);
    const picture = figure.querySelector("img").cloneNode();
    picture.className = figure.closest(".pixelated") ? "pixelated" : "";
    picture.addEventListener("click", () => stage.classList.toggle("full"));
    stage.classList.remove("full");
    stage.replaceChildren(picture);
    words.textContent = figure.querySelector("figcaption").textContent.trim();
    if (!dialog.open) dialog.showModal();
  };
  const move = (by) => show(figures[(at + by + figures.length) % figures.length]);
  const moves = { before: () => move(-1), after: () => move(1), close: () => dialog.close() };

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("button.large, a.patches");
    if (!opener) return;
    const figure = opener.dataset.patches ? document.getElementById(opener.dataset.patches) : opener.closest("figure");
    if (!figure) return;
    event.preventDefault();
    show(figure);
  });
  dialog.addEventListener("click", (event) => (event.target === dialog ? dialog.close() : moves[event.target.value]?.()));
  dialog.addEventListener("keydown", (event) => ({ ArrowLeft: moves.before, ArrowRight: moves.after })[event.key]?.());

  // on paper everything is unfolded, and folded again afterwards
  const folded = () => document.querySelectorAll("details:not([open])");
  addEventListener("beforeprint", () => folded().forEach((one) => one.setAttribute("open", "print")));
  addEventListener("afterprint", () => document.querySelectorAll("details[open=print]").forEach((one) => one.removeAttribute("open")));
})();
