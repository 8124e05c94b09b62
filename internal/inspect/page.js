(function () {
  var box = document.querySelector(".scroll"), svg = document.querySelector("svg.time");
  if (!box || !svg) return;
  var zoom = 1;
  function set(z, x) {
    z = Math.min(Math.max(z, 1), 2000);
    var at = (box.scrollLeft + x) / (box.clientWidth * zoom);
    zoom = z;
    svg.style.width = 100 * zoom + "%";
    svg.classList.toggle("zoomed", zoom >= 6);
    box.scrollLeft = at * box.clientWidth * zoom - x;
  }
  box.addEventListener("wheel", function (e) {
    if (!e.ctrlKey && !e.shiftKey && !e.altKey) return;
    e.preventDefault();
    set(zoom * Math.exp(-(e.deltaY || e.deltaX) / 300), e.clientX - box.getBoundingClientRect().left);
  }, { passive: false });
  document.addEventListener("keydown", function (e) {
    var step = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 1e-9 }[e.key];
    if (step && !e.ctrlKey && !e.metaKey) set(zoom * step, box.clientWidth / 2);
  });
  document.querySelector(".hint").hidden = false;
})();
