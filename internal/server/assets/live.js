// Keeps an open page true: the server sends the content again when it changed. Without this script the page is the same,
// as it was when it was loaded.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  const note = document.getElementById("connection");

  document.addEventListener("submit", (e) => {
    const question = e.target.dataset.confirm;
    if (question && !window.confirm(question)) e.preventDefault();
  });
  if (!main || !window.EventSource) return;

  let source = null;

  const show = (html) => {
    // Nobody's selection or half-pressed button is taken away; the next change brings everything.
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && main.contains(selection.anchorNode)) return;
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    for (const d of main.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector("#" + CSS.escape(d.id));
      if (same) same.open = true;
    }
    const focused = main.contains(document.activeElement) ? pathTo(document.activeElement) : null;
    main.replaceChildren(...fresh.childNodes);
    if (focused) {
      const again = follow(focused);
      if (again) again.focus({ preventScroll: true });
    }
  };

  // A way to an element that survives the exchange of the content.
  const pathTo = (element) => {
    if (element.getAttribute("href")) return { href: element.getAttribute("href") };
    const form = element.closest("form");
    if (form) return { action: form.getAttribute("action") };
    const details = element.closest("details[id]");
    return details ? { details: details.id } : null;
  };
  const follow = (path) => {
    if (path.href) return main.querySelector(`a[href="${CSS.escape(path.href)}"]`);
    if (path.action) return main.querySelector(`form[action="${CSS.escape(path.action)}"] button`);
    return main.querySelector(`#${CSS.escape(path.details)} > summary`);
  };

  const open = () => {
    if (source) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener("page", (e) => show(JSON.parse(e.data)));
    source.addEventListener("open", () => { note.hidden = true; main.dataset.connected = "yes"; });
    source.addEventListener("error", () => {
      note.hidden = false;
      delete main.dataset.connected;
      // A server that refuses ends the source for good; it may take us later.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        window.setTimeout(() => { if (!document.hidden) open(); }, 5000);
      }
    });
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };

  // A page that nobody sees holds no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
})();
