// Keeps the list up to date. Without it the page works the same and is reloaded
// by hand.
(() => {
  "use strict";
  const live = () => document.querySelector("[data-live]");
  if (!live() || !window.EventSource) return;

  const pause = 200; // ms between two refreshes when mail pours in
  let wanted = live().dataset.version;
  let busy = false;

  async function refresh() {
    if (busy) return;
    busy = true;
    try {
      while (live().dataset.version !== wanted) {
        const before = wanted;
        const answer = await fetch(location.href);
        if (!answer.ok) break;
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        replace(page.querySelector("[data-live]"));
        if (wanted === before && live().dataset.version !== before) wanted = live().dataset.version;
        await new Promise((done) => setTimeout(done, pause));
      }
    } catch {
      // The inbox is gone or restarting; the event stream reports when it is back.
    } finally {
      busy = false;
    }
  }

  // replace swaps the list and leaves the keyboard focus where it was.
  function replace(fresh) {
    if (!fresh) return;
    const old = live();
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const known = new Set([...old.querySelectorAll(".mails a")].map((a) => a.getAttribute("href")));
    for (const a of fresh.querySelectorAll(".mails a")) {
      if (known.size && !known.has(a.getAttribute("href"))) a.classList.add("new");
    }
    old.dataset.version = fresh.dataset.version;
    old.replaceChildren(...fresh.childNodes);
    if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  new EventSource("/events").onmessage = (event) => {
    wanted = event.data;
    refresh();
  };
})();
