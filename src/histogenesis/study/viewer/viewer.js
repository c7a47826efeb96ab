// Two panes of one run's pictures. A place is a centre and a width in um, so that pictures of different mpp move together
// at the same scale; it stands in the address, which is thus a link to it.
(() => {
  const { pictures, run, tile_px } = window.FACTS;
  const byKey = Object.fromEntries(pictures.map((one) => [one.key, one]));
  const id = (name) => document.getElementById(name);
  document.title = `${run}: histogenesis viewer`;
  document.querySelector("h1").textContent = run;

  const source = (one) => ({
    width: one.width_px, height: one.height_px, tileSize: tile_px, tileOverlap: 0, minLevel: 0, maxLevel: one.last,
    getTileUrl: (level, x, y) => `tiles/${one.key}/${level}/${x}_${y}.jpg`,
  });

  class Pane {
    constructor(side) {
      this.side = side;
      this.element = document.querySelector(`[data-side=${side}]`);
      this.select = id(side);
      if (side === "right") this.select.append(new Option("nothing", ""));
      pictures.forEach((one) => this.select.append(new Option(one.title, one.key)));
      this.view = OpenSeadragon({
        element: this.element.querySelector(".slide"), drawer: "canvas", showNavigationControl: false, maxZoomPixelRatio: 8,
        animationTime: 0.3, gestureSettingsMouse: { clickToZoom: false },
      });
      this.view.addHandler("open", () => this.opened());
      this.view.addHandler("viewport-change", () => { this.ruler(); moved(this); });
      this.select.addEventListener("change", () => this.show(this.select.value));
    }
    show(key, place) {
      const before = this.picture;
      this.select.value = key;
      this.picture = byKey[key];
      this.element.hidden = !this.picture;
      this.wanted = place ?? (before && this.picture && before.frame === this.picture.frame ? this.place() : null);
      if (this.picture) this.view.open(source(this.picture)); else { this.view.close(); remember(); }
    }
    get widthUm() { return this.picture.width_px * this.picture.mpp; }
    place() {
      const [centre, bounds] = [this.view.viewport.getCenter(true), this.view.viewport.getBounds(true)];
      return { x: centre.x * this.widthUm, y: centre.y * this.widthUm, width: bounds.width * this.widthUm };
    }
    go({ x, y, width }, at_once) {
      const port = this.view.viewport;
      port.zoomTo(this.widthUm / width, null, at_once);
      port.panTo(new OpenSeadragon.Point(x / this.widthUm, y / this.widthUm), at_once);
    }
    opened() {
      if (this.wanted) this.go(this.wanted, true); else if (other(this).picture?.frame === this.picture.frame) this.go(other(this).place(), true);
      this.wanted = null;
      this.draw();
      this.ruler();
      apart();
      remember();
    }
    draw() {
      const box = this.element.querySelector(".overlays");
      box.querySelectorAll("label").forEach((one) => one.remove());
      const whole = new OpenSeadragon.Rect(0, 0, 1, this.picture.height_px / this.picture.width_px);
      this.picture.overlays.forEach((shape) => {
        const element = shape.picture ? Object.assign(new Image(), { src: shape.picture, className: "map", alt: "" }) : drawn(shape, whole);
        const [label, tick] = [document.createElement("label"), document.createElement("input")];
        tick.type = "checkbox";
        tick.addEventListener("change", () => (tick.checked ? this.view.addOverlay({ element, location: whole }) : this.view.removeOverlay(element)));
        label.append(tick, ` ${shape.title}`);
        box.append(label);
      });
    }
    ruler() {
      if (!this.picture?.mpp || !this.view.viewport) return;
      const perPx = this.place().width / this.element.clientWidth;
      const most = perPx * 160, power = 10 ** Math.floor(Math.log10(most));
      const um = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
      const bar = this.element.querySelector(".scale");
      bar.querySelector("i").style.width = `${um / perPx}px`;
      bar.querySelector("span").textContent = um >= 1000 ? `${um / 1000} mm` : `${+um.toPrecision(3)} µm`;
    }
  }

  const drawn = (shape, whole) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("class", "shapes");
    svg.setAttribute("viewBox", `0 0 1 ${whole.height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    path.setAttribute("d", shape.path);
    path.setAttribute("stroke", shape.colour);
    svg.append(path);
    return svg;
  };

  // moving together: same width in um; the centres stay as far apart as they were when the second was opened
  let gap = { x: 0, y: 0 }, leading = null, timer = null;
  const other = (pane) => (pane === left ? right : left);
  const apart = () => {
    if (!left.picture || !right.picture || left.picture.frame === right.picture.frame) return (gap = { x: 0, y: 0 });
    const [a, b] = [left.place(), right.place()];
    gap = { x: b.x - a.x, y: b.y - a.y };
  };
  const moved = (pane) => {
    remember();
    const second = other(pane);
    if (!id("together").checked || !pane.picture || !second.picture || leading === second) return;
    leading = pane;
    const sign = pane === left ? 1 : -1, { x, y, width } = pane.place();
    const scale = second.element.clientWidth / pane.element.clientWidth;
    second.go({ x: x + sign * gap.x, y: y + sign * gap.y, width: width * scale }, true);
    leading = null;
  };
  id("together").addEventListener("change", apart);

  const remember = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!left.picture || !left.view.viewport) return;
      const { x, y, width } = left.place();
      const parts = { left: left.picture.key, right: right.picture?.key ?? "", x: x.toFixed(1), y: y.toFixed(1), width: width.toFixed(1) };
      history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
    }, 150);
  };
  id("link").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); id("said").textContent = "copied"; }
    catch { id("said").textContent = "the link is in the address bar"; }
  });

  const left = new Pane("left"), right = new Pane("right");
  const start = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name) => Number(asked.get(name));
    const place = asked.has("width") && number("width") > 0 ? { x: number("x"), y: number("y"), width: number("width") } : null;
    left.show(byKey[asked.get("left")] ? asked.get("left") : pictures[0].key, place);
    right.show(byKey[asked.get("right")] ? asked.get("right") : "");
  };
  addEventListener("hashchange", start);
  window.panes = { left, right };
  start();
})();
